"""`index` and `plan`."""

from __future__ import annotations

import pytest

from latefold.service.cli import build

REPORT_KEYS = {
    "path",
    "documents",
    "bytes_on_disk",
    "files",
    "unchanged_files",
    "added",
    "updated",
    "unchanged",
    "deleted",
    "vanished",
    "pruned",
    "skipped",
    "failed",
    "bytes",
    "seconds",
    "dry_run",
    "ok",
    "calibration",
    "plan",
}
PLAN_KEYS = {
    "files",
    "bytes",
    "kinds",
    "skipped",
    "unreadable",
    "documents",
    "tokens",
    "tokens_per_document",
    "documents_per_second",
    "seconds",
    "disk_bytes",
    "memory_bytes",
    "ocr_pages",
    "sampled",
    "encoder",
    "codec",
    "presets",
}


def run(cli, folder, *options):
    return cli("index", folder, "--into", folder.parent / "new.index", "--no-progress", *options)


def test_index_reports_what_it_did_and_skips_unchanged_files(cli, folder):
    done = run(cli, folder, "--json")
    assert done.code == 0
    assert done.json.keys() == REPORT_KEYS
    assert (done.json["files"], done.json["added"], done.json["documents"]) == (4, 5, 5)
    assert done.json["bytes_on_disk"] > 0
    again = run(cli, folder, "--json")
    assert again.code == 0
    assert (again.json["files"], again.json["unchanged_files"], again.json["added"]) == (0, 4, 0)


def test_unreadable_files_are_reported_and_the_rest_is_indexed(cli, folder):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4\nnothing here")
    done = run(cli, folder, "--json")
    assert done.code == 20
    assert not done.json["ok"]
    assert [failure["source"] for failure in done.json["failed"]] == ["broken.pdf"]
    assert done.json["documents"] == 5
    plain = run(cli, folder)
    assert plain.code == 20
    assert "could not be read: broken.pdf: " in plain.err
    assert "latefold search" in plain.err


def test_dry_run_writes_nothing(cli, folder):
    done = run(cli, folder, "--dry-run", "--json")
    assert (done.code, done.json["added"], done.json["dry_run"]) == (0, 5, True)
    assert done.json["plan"].keys() == PLAN_KEYS
    assert not (folder.parent / "new.index").exists()


def test_prune_deletes_what_is_gone(cli, folder):
    run(cli, folder)
    (folder / "bread.txt").unlink()
    kept = run(cli, folder)
    assert kept.code == 0
    assert "1 indexed file gone since" in kept.err
    done = run(cli, folder, "--prune", "--json")
    assert (done.json["pruned"], done.json["deleted"], done.json["documents"]) == (True, 1, 4)


def test_include_and_exclude(cli, folder):
    done = run(cli, folder, "--include", "*.md", "--include", "*.txt", "--exclude", "bread.*", "--dry-run", "--json")
    assert done.json["files"] == 1


def test_a_folder_with_other_files_is_refused_and_untouched(cli, folder):
    before = sorted(folder.rglob("*"))
    done = cli("index", folder, "--into", folder, "--json")
    assert (done.code, done.json["error"]["code"]) == (5, "index_exists")
    assert sorted(folder.rglob("*")) == before


def test_a_source_that_is_not_there_makes_no_index(cli, tmp_path):
    done = cli("index", tmp_path / "absent", "--into", tmp_path / "new.index", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "invalid_input")
    assert not (tmp_path / "new.index").exists()


@pytest.mark.parametrize(
    ("options", "code", "error"),
    [
        (["--encoder", "minilm-128"], 10, "encoder_mismatch"),
        (["--codec", "fp16"], 2, "invalid_input"),
    ],
)
def test_an_existing_index_keeps_its_encoder_and_codec(cli, folder, index_copy, options, code, error):
    done = cli("index", folder, "--into", index_copy, *options, "--json")
    assert (done.code, done.json["error"]["code"]) == (code, error)


def test_codec_and_encoder_of_a_new_index(cli, folder):
    done = run(cli, folder, "--encoder", "minilm-128", "--codec", "fp16", "--include", "rows.jsonl", "--json")
    assert done.code == 0
    stats = cli("stats", done.json["path"], "--json").json
    assert (stats["encoder"], stats["dim"], stats["codec"]) == ("minilm-128", 128, "fp16")
    unknown = cli("index", folder, "--into", folder.parent / "other.index", "--codec", "zip", "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (2, "invalid_input")


def test_plan_writes_nothing_and_counts_the_documents(cli, folder):
    before = sorted(folder.parent.rglob("*"))
    done = cli("plan", folder, "--no-progress", "--json")
    assert done.code == 0
    assert done.json.keys() == PLAN_KEYS
    assert (done.json["files"], done.json["documents"]) == (4, 5)
    assert done.json["disk_bytes"]["total"] > 0
    assert sorted(folder.parent.rglob("*")) == before
    assert "about 5, " in cli("plan", folder).out
    assert cli("plan", folder / "absent").code == 2


def test_a_long_first_run_knows_how_many_documents_are_to_come(cli, folder, monkeypatch):
    monkeypatch.setattr(build, "LONG_BYTES", 1)
    done = cli("index", folder, "--into", folder.parent / "new.index", "--progress")
    assert done.code == 0
    assert "5/5" in done.err


def test_plan_compares_the_presets(cli, folder):
    said = cli("plan", folder).out
    for preset, codec, bytes_per_token in (("smallest", "pq16", 20), ("balanced", "pq32", 36), ("exact", "lvq8", 132)):
        assert f"--codec {preset}" in said
        assert f"{codec}, {bytes_per_token} bytes a token" in said
    presets = cli("plan", folder, "--codec", "smallest", "--json").json["presets"]
    assert [preset["tokens_bytes"] for preset in presets] == sorted(preset["tokens_bytes"] for preset in presets)


def test_a_preset_is_what_tokens_are_stored_by(cli, tmp_path):
    lines = [f'{{"id": "d{i}", "text": "document {i} is about subject {i % 7}"}}' for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    done = run(cli, tmp_path / "rows.jsonl", "--codec", "smallest", "--json")
    assert done.code == 0, done.err
    path = tmp_path / "new.index"
    stats = cli("stats", path, "--json").json
    assert (stats["codec"], stats["wanted_codec"]) == ("pq16", "smallest")
    assert stats["bytes_per_token"] <= 20
    (measured,) = stats["calibration"]["codecs"]
    assert 0.5 < measured["kept"] <= 1
    assert "of the exact top 10" in cli("stats", path).out
    assert cli("search", path, "subject 3", "--json").json["hits"]
    assert run(cli, tmp_path / "rows.jsonl", "--codec", "balanced", "--json").json["error"]["code"] == "invalid_input"


def test_an_index_may_keep_the_most_salient_vectors(cli, folder):
    whole = run(cli, folder, "--json")
    target = folder.parent / "kept.index"
    kept = cli("index", folder, "--into", target, "--keep", 0.5, "--json")
    assert (whole.code, kept.code) == (0, 0)
    sizes = [cli("stats", path, "--json").json["tokens"] for path in (folder.parent / "new.index", target)]
    assert 0.4 * sizes[0] < sizes[1] < 0.6 * sizes[0]
    assert cli("index", folder, "--into", target).code == 0
    for options, part in [
        (("--into", target, "--keep", 0.3), "keeps 0.5 of its vectors"),
        (("--into", folder.parent / "a.index", "--saliency", "distance"), "how many of them by --keep"),
        (("--into", folder.parent / "a.index", "--keep", 0.3, "--saliency", "attention"), "tells no attention"),
        (("--into", folder.parent / "a.index", "--keep", 2), "the share of tokens to store"),
    ]:
        done = cli("index", folder, *options)
        assert done.code == 2
        assert part in done.err
    assert not (folder.parent / "a.index").exists()
