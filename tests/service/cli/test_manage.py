"""`stats`, `verify`, `optimize` and `delete`."""

from __future__ import annotations

STATS_KEYS = {
    "path",
    "documents",
    "deleted",
    "tokens",
    "dim",
    "sources",
    "segments",
    "generation",
    "format_version",
    "encoder",
    "fingerprint",
    "codec",
    "wanted_codec",
    "bytes_per_token",
    "single",
    "bytes_per_vector",
    "fitted_documents",
    "bytes_per_document",
    "bytes",
    "calibration",
    "factors",
}


def test_stats(cli, shared_index):
    stats = cli("stats", shared_index, "--json").json
    assert stats.keys() == STATS_KEYS
    assert (stats["documents"], stats["encoder"], stats["codec"]) == (5, "latefold", "lvq8")
    assert stats["bytes"]["total"] == sum(size for part, size in stats["bytes"].items() if part != "total")
    plain = cli("stats", shared_index)
    assert "documents        5\n" in plain.out
    assert "not measured" in plain.out


def test_verify_names_a_damaged_file(cli, index_copy):
    done = cli("verify", index_copy, "--json")
    assert done.code == 0
    assert done.json.keys() == {"files", "bytes", "documents"}
    tokens = next(index_copy.glob("segments/*/tokens.bin"))
    content = bytearray(tokens.read_bytes())
    content[-1] ^= 1
    tokens.chmod(0o644)
    tokens.write_bytes(content)
    damaged = cli("verify", index_copy)
    assert damaged.code == 7
    assert damaged.err.startswith("error[index_corrupted]: ")
    assert "tokens.bin" in damaged.err


def test_delete_by_id_and_optimize(cli, index_copy):
    rehearsal = cli("delete", index_copy, "r1", "--dry-run", "--json")
    assert rehearsal.json == {"deleted": 0, "ids": ["r1"], "dry_run": True}
    done = cli("delete", index_copy, "r1", "--json")
    assert done.json == {"deleted": 1, "ids": ["r1"], "dry_run": False}
    assert cli("stats", index_copy, "--json").json["deleted"] == 1
    optimized = cli("optimize", index_copy, "--json").json
    assert optimized.keys() == STATS_KEYS | {"bytes_before"}
    assert (optimized["documents"], optimized["deleted"]) == (4, 0)


def test_an_unknown_id_deletes_nothing(cli, index_copy):
    done = cli("delete", index_copy, "r1", "nobody", "--json")
    assert (done.code, done.json["error"]["code"]) == (3, "document_not_found")
    assert cli("stats", index_copy, "--json").json["documents"] == 5


def test_delete_by_filter_asks_first(cli, index_copy):
    refused = cli("delete", index_copy, "--filter", '{"year": 1999}', "--json")
    assert refused.code == 2
    assert "--yes" in refused.json["error"]["message"]
    assert cli("delete", index_copy, "--filter", '{"year": 1999}', "--dry-run", "--json").json["ids"] == ["r2"]
    done = cli("delete", index_copy, "--filter", '{"year": 1999}', "--yes", "--json")
    assert (done.json["deleted"], done.json["ids"]) == (1, ["r2"])
    nothing = cli("delete", index_copy, "--filter", '{"year": 1999}', "--json")
    assert (nothing.code, nothing.json["deleted"]) == (0, 0)


def test_delete_needs_ids_or_a_filter_and_not_both(cli, index_copy):
    assert cli("delete", index_copy).code == 2
    assert cli("delete", index_copy, "r1", "--filter", "{}").code == 2
