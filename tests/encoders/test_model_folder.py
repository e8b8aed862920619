"""Names of encoders, hostile folders, and the folders that are written for a head."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from heads import NESTED, TEXTS, random_head
from onnx import TensorProto, helper, numpy_helper

from latefold.encoders import model_folder
from latefold.encoders.base import Encoder, load_encoder
from latefold.encoders.delta import DELTA_FILE
from latefold.encoders.errors import EncoderError, InvalidInputError, MissingExtraError
from latefold.encoders.export_head import update_checksums, write_head_folder
from latefold.encoders.head import HEAD_FILE, Head
from latefold.encoders.model_folder import MODELS, ModelFolder, bundled_names, find_model
from latefold.encoders.onnx_text import OnnxTextEncoder
from latefold.encoders.pooling.base import Pooling


@pytest.fixture
def edited(whole_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder whose description is changed; the large graph is linked."""

    def edit(**changes: Any) -> Path:
        out = tmp_path / "edited"
        shutil.copytree(whole_folder, out, copy_function=os.link)
        described = json.loads((out / "model.json").read_bytes())
        (out / "model.json").unlink()
        for key, value in changes.items():
            described[key] = value
        (out / "model.json").write_text(json.dumps({k: v for k, v in described.items() if v is not None}))
        return out

    return edit


def replace_file(head_folder: Path, name: str, content: bytes) -> Path:
    (head_folder / name).unlink()
    (head_folder / name).write_bytes(content)
    update_checksums(head_folder)
    return head_folder


# --- names


@pytest.mark.parametrize(
    ("name", "dim", "pooling"),
    [
        ("minilm", None, None),
        ("minilm-128", 128, None),
        ("minilm-96:c8", 96, "c8"),
        ("minilm:c33%", None, "c33%"),
        ("minilm-64:c8:raw", 64, "c8:raw"),
        ("minilm:none", None, "none"),
    ],
)
def test_a_name_says_model_dimensions_and_pooling(name: str, dim: int | None, pooling: str | None) -> None:
    choice = find_model(name)
    assert choice is not None
    assert (choice.name, choice.folder.path, choice.dim) == (name, MODELS / "minilm", dim)
    assert choice.pooling == (None if pooling is None else Pooling.parse(pooling))


@pytest.mark.parametrize(
    "name", ["", "maxilm", "minilm-", "minilm:", "Minilm", "org/minilm", ":c8", "a\0b", "x" * 5000]
)
def test_other_names_are_no_models_of_ours(name: str) -> None:
    assert find_model(name) is None


@pytest.mark.parametrize("name", ["minilm-0", "minilm-385", "minilm-99999", "minilm:c0", "minilm:mean", "minilm:c8:"])
def test_impossible_dimensions_and_poolings_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"offers 1 to 384|pooling"):
        load_encoder(name)


def test_dimensions_that_a_head_was_not_trained_for_are_refused(head_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="offers 32, 64, 96, 128"):
        load_encoder(f"{head_folder}-100")


def test_an_unknown_bundled_name_lists_the_known_ones() -> None:
    with pytest.raises(EncoderError, match=", ".join(bundled_names())):
        OnnxTextEncoder.bundled("maxilm")


@pytest.mark.parametrize("suffix", ["", "-64", ":c8", "-32:c33%"])
def test_a_folder_is_found_again_by_the_name_of_its_encoder(
    head_folder: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(head_folder.parent)
    encoder = load_encoder(f"./{head_folder.name}{suffix}")
    assert isinstance(encoder, Encoder)
    assert encoder.name == f"{head_folder}{suffix}"
    assert load_encoder(encoder.name).fingerprint == encoder.fingerprint


def test_a_folder_that_is_called_like_a_choice_comes_first(head_folder: Path, tmp_path: Path) -> None:
    for name in ("own", "own-64", "own-64:c8"):
        shutil.copytree(head_folder, tmp_path / name)
    for name in ("own", "own-64", "own-64:c8"):
        choice = find_model(str(tmp_path / name))
        assert choice is not None
        assert (choice.folder.path, choice.dim) == (tmp_path / name, None)
    choice = find_model(str(tmp_path / "own-64:c32"))
    assert choice is not None
    assert (choice.folder.path.name, choice.dim, str(choice.pooling)) == ("own-64", None, "c32")


def test_a_folder_cannot_take_the_name_of_a_bundled_model(
    head_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("minilm", "minilm-128"):
        shutil.copytree(head_folder, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert all(load_encoder(name).name == name for name in ("minilm", "minilm-128"))
    assert load_encoder("./minilm").name == str(tmp_path / "minilm")


def test_a_folder_without_our_description_goes_to_sentence_transformers(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    with pytest.raises((EncoderError, MissingExtraError), match=r"single-vector|optional part"):
        load_encoder(tmp_path, offline=True)


# --- folders that are not to be trusted


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": {"name": "../minilm", "sha256": {}}}, "no bundled model"),
        ({"backbone": {"name": "/etc", "sha256": {}}}, "no bundled model"),
        ({"backbone": {"name": ["minilm"], "sha256": {}}}, "no bundled model"),
        ({"backbone": {"name": "minilm", "sha256": {"model.onnx": "0", "tokenizer.json": "0"}}}, "another release"),
        ({"backbone": {"name": "minilm"}}, "sha256"),
        ({"backbone": "minilm"}, r"model\.json"),
        ({"dims": 0}, "dims"),
        ({"dims": True}, "dims"),
        ({"dims": 1e9}, "dims"),
        ({"dims": 64, "nested": [64]}, "128 dimensions, its description says 64"),
        ({"dims": None}, "dims"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"nested": [0, 128]}, "nested"),
        ({"nested": [32]}, "nested"),
        ({"nested": "all"}, "nested"),
        ({"pooling": "mean"}, "names no pooling"),
        ({"sha256": {}}, "differs from its checksum"),
        ({"sha256": [1]}, r"model\.json"),
    ],
)
def test_descriptions_that_cannot_be_are_refused(
    edited: Callable[..., Path], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(EncoderError, match=reason):
        load_encoder(edited(**changes)).encode_queries(["text"])


def test_a_deep_or_huge_description_is_refused(tmp_path: Path) -> None:
    for content in (b"[" * 200_000, b" " * (2 << 20), b"\xff\xfe"):
        (tmp_path / "model.json").write_bytes(content)
        with pytest.raises(EncoderError, match=r"model\.json"):
            load_encoder(tmp_path)


def test_a_folder_in_place_of_a_file_is_refused(edited: Callable[..., Path]) -> None:
    folder = edited()
    (folder / HEAD_FILE).unlink()
    (folder / HEAD_FILE).mkdir()
    with pytest.raises(EncoderError, match="is no file"):
        load_encoder(folder).encode_queries(["text"])


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", HEAD_FILE])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x04]\x94."])
def test_files_of_other_kinds_are_refused(edited: Callable[..., Path], name: str, content: bytes) -> None:
    folder = replace_file(edited(), name, content)
    with pytest.raises(EncoderError, match=name):
        load_encoder(folder).encode_queries(["text"])


def test_a_damaged_head_is_refused(head_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(head_folder, tmp_path / "copy")
    content = bytearray((tmp_path / "copy" / HEAD_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / "copy" / HEAD_FILE).write_bytes(content)
    with pytest.raises(EncoderError, match="differs from its checksum; export the model again"):
        load_encoder(tmp_path / "copy").encode_queries(["text"])


def graph(output: str, inputs: tuple[str, ...] = ("ids", "lengths", "dims")) -> bytes:
    """A graph that gives one vector for each token but knows the token 0 only (`known`), or one vector (`one`)."""
    table = helper.make_tensor("one", TensorProto.FLOAT, [1, 384], np.zeros(384))
    gather = [helper.make_node("Gather", ["one", "ids"], ["known"])] if output == "known" else []
    nodes = [*gather, helper.make_node("Identity", [output], ["vectors"])]
    taken = [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in inputs]
    given = [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [None, None])]
    made = helper.make_graph(nodes, "odd", taken, given, [table])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (graph("one"), "gives vectors of shape"),
        (graph("one", ("ids",)), "no graph of latefold"),
        (graph("known"), "fails"),
    ],
)
def test_graphs_that_do_something_else_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    folder = shutil.copytree(MODELS / "minilm", tmp_path / "edited", copy_function=os.link)
    described = json.loads((folder / "model.json").read_bytes())
    (folder / "model.json").unlink()
    (folder / "model.json").write_text(json.dumps(described))
    replace_file(folder, "model.onnx", content)
    with pytest.raises(EncoderError, match=reason):
        load_encoder(folder).encode_queries(["text"])


def test_a_head_follows_graphs_of_our_own_only(edited: Callable[..., Path]) -> None:
    folder = replace_file(edited(), "model.onnx", graph("one"))
    with pytest.raises(EncoderError, match=r"model\.onnx of .* no head can follow it"):
        load_encoder(folder).encode_queries(["text"])


def test_a_graph_reads_no_other_file(
    edited: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.bin").write_bytes(np.arange(384, dtype=np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    folder = edited()
    model = onnx.load(folder / "model.onnx")
    (tensor,) = (item for item in model.graph.initializer if item.name == "encoder.layer.5.output.dense.bias")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "secret.bin", "offset": "0", "length": str(4 * 384)}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    replace_file(folder, "model.onnx", model.SerializeToString())
    with pytest.raises(EncoderError, match=r"cannot read model\.onnx"):
        load_encoder(folder).encode_queries(["x"])


# --- writing


def test_the_description_says_how_the_head_was_made(tmp_path: Path) -> None:
    (tmp_path / "NOTICE").write_text("of whom")
    manifest = {"seed": 7, "data": {"pairs.jsonl": "ab"}}
    written = write_head_folder(tmp_path, random_head(), backbone="minilm", dims=96, nested=NESTED, training=manifest)
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["training"] == manifest
    assert (described["dims"], described["nested"], described["max_tokens"]) == (96, [32, 64, 96], 256)
    assert set(described["sha256"]) == {"NOTICE", HEAD_FILE}
    assert "model.onnx" not in {path.name for path in tmp_path.iterdir()}
    assert written == ModelFolder.read(tmp_path)
    assert load_encoder(tmp_path).dim == 96
    (tmp_path / "README.md").write_text("card")
    update_checksums(tmp_path)
    assert ModelFolder.read(tmp_path).bytes_of("README.md") == b"card"
    assert replace(ModelFolder.read(tmp_path), checksums=written.checksums) == written


def test_the_same_head_gives_the_same_files(head_folder: Path, tmp_path: Path) -> None:
    write_head_folder(tmp_path, random_head(), backbone="minilm", nested=NESTED)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in head_folder.iterdir()
    }


def test_a_head_is_added_to_a_graph_in_place_and_replaced(tmp_path: Path) -> None:
    out = Path(shutil.copytree(MODELS / "minilm", tmp_path / "out"))
    plain = (out / "model.json").read_bytes()
    for seed in (0, 1):
        (out / "model.json").write_bytes(plain)
        update_checksums(out)
        write_head_folder(out, random_head(seed), backbone=out)
        assert Head.read(ModelFolder.read(out).bytes_of(HEAD_FILE)).to_bytes() == random_head(seed).to_bytes()


def test_trained_layers_are_kept_as_what_they_change(head_folder: Path, tmp_path: Path) -> None:
    model = onnx.load(MODELS / "minilm" / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.startswith("encoder.layer.5.") and tensor.name.endswith(".scales"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
    graph = model.SerializeToString(deterministic=True)
    folder = write_head_folder(tmp_path / "changed", random_head(), backbone="minilm", nested=NESTED, graph=graph)
    assert folder.bytes_of("model.onnx") == graph
    assert (tmp_path / "changed" / DELTA_FILE).stat().st_size < 50_000

    whole = Path(shutil.copytree(MODELS / "minilm", tmp_path / "whole", ignore=shutil.ignore_patterns("*.onnx")))
    (whole / "model.onnx").write_bytes(graph)
    update_checksums(whole)
    write_head_folder(whole, random_head(), backbone=whole, nested=NESTED)
    made, expected = (load_encoder(path).encode_documents(TEXTS).vectors for path in (tmp_path / "changed", whole))
    np.testing.assert_array_equal(made, expected)
    assert np.abs(made - load_encoder(head_folder).encode_documents(TEXTS).vectors).max() > 0.01
    assert load_encoder(tmp_path / "changed").fingerprint.digest != load_encoder(head_folder).fingerprint.digest

    (tmp_path / "changed" / DELTA_FILE).write_bytes(b"")
    with pytest.raises(EncoderError, match="differs from its checksum"):
        load_encoder(tmp_path / "changed").encode_queries(["x"])
    write_head_folder(tmp_path / "changed", random_head(), backbone="minilm", nested=NESTED)
    assert not (tmp_path / "changed" / DELTA_FILE).exists()


def test_parts_that_do_not_fit_are_not_written(head_folder: Path, tmp_path: Path) -> None:
    narrow = Head(np.float32(0), np.ones((16, 4), np.float32), np.zeros(4, np.float32))
    for head, settings in (
        (narrow, {"backbone": "minilm"}),
        (random_head(), {"backbone": "minilm", "dims": 129}),
        (random_head(), {"backbone": head_folder}),
        (random_head(), {"backbone": "maxilm"}),
    ):
        with pytest.raises(EncoderError):
            write_head_folder(tmp_path / "out", head, **settings)
    assert not (tmp_path / "out").exists()


def test_a_folder_under_models_is_a_bundled_encoder(
    head_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minilm").symlink_to(MODELS / "minilm")
    shutil.copytree(head_folder, tmp_path / "headed")
    monkeypatch.setattr(model_folder, "MODELS", tmp_path)
    assert bundled_names() == ["headed", "minilm"]
    encoder = OnnxTextEncoder.bundled("headed-64:c8")
    assert (encoder.name, encoder.dim, encoder.fingerprint.pooling) == ("headed-64:c8", 64, "c8")
    np.testing.assert_array_equal(
        encoder.encode_queries(TEXTS).vectors, load_encoder(f"{head_folder}-64").encode_queries(TEXTS).vectors
    )
