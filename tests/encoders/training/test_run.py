"""Training runs of a tiny BERT: they learn, resume, repeat, and leave checkpoints and exports that load."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from heads import project

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")
pytest.importorskip("datasets", reason="the extra 'models' is not installed")
pytest.importorskip("accelerate", reason="the extra 'models' is not installed")

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from latefold.encoders import model_folder
from latefold.encoders.base import load_encoder
from latefold.encoders.errors import EncoderError, InvalidInputError
from latefold.encoders.head import Head
from latefold.encoders.training.config import TrainingConfig, parse_config
from latefold.encoders.training.modules import TokenHead
from latefold.encoders.training.run import train

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [a + b for a in "bdfgklmn" for b in ("at", "ed", "in", "ol", "ug")]

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "bert"
    torch.manual_seed(7)
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Passages of random words; a query is some of them."""
    rng = np.random.default_rng(3)
    lines = []
    for i in range(120):
        words = rng.permutation(WORDS)[:10].tolist()
        row = {"query": " ".join(words[:3]), "passage": " ".join(rng.permutation(words))}
        if i % 3 == 0:
            row |= {"negatives": [" ".join(rng.permutation(WORDS)[:10])], "scores": [2.0, 1.0]}
        lines.append(json.dumps(row) + "\n")
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def config(base: Path, data: Path) -> TrainingConfig:
    return parse_config(
        {
            "data": {"files": [str(data)], "held_out": 0.2},
            "model": {"base": str(base), "dim": 16, "nested": [8]},
            "pooling": {"documents": ["none", "c50%"], "saved": "c50%"},
            "loss": {"regulariser": 0.1, "contrastive": 1.0},
            "run": {"steps": 12, "batch": 16, "mining": "means", "neighbours": 6, "group": 4, "evaluate_every": 6},
        },
        Path("/"),
    )


@pytest.fixture(scope="module")
def done(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, train(config, folder)


def head_of(folder: Path) -> Head:
    return Head.read((folder / "head.safetensors").read_bytes())


def test_a_run_learns_and_leaves_what_reproduces_it(done: tuple[Path, dict], config: TrainingConfig) -> None:
    folder, result = done
    curves = json.loads((folder / "curves.json").read_text())
    assert curves["train"][-1]["loss"] < curves["train"][0]["loss"]
    assert {"contrastive", "distillation", "regulariser"} <= set(curves["train"][0])
    assert [entry["step"] for entry in curves["evaluation"]] == [0, 6, 12]
    assert {"mrr@10:16:none", "mrr@10:16:c50%", "mrr@10:8:none", "stable_rank"} <= set(result["after"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert parse_config(manifest["config"], Path("/")) == config
    assert manifest["data"][0]["pairs"] == 120
    assert result["pairs"] + result["held_out"] == 120


def test_the_saved_checkpoint_is_the_transformer_with_the_head_trained_over_cached_vectors(
    done: tuple[Path, dict], base: Path
) -> None:
    folder, _ = done
    encoder = load_encoder(folder / "model", offline=True)
    texts = [" ".join(WORDS[:9]), "bat ged"]
    plain = load_encoder(folder / "cache" / "base", offline=True).encode_documents(texts)
    expected = project(head_of(folder), plain.vectors, plain.offsets, 16)
    np.testing.assert_allclose(encoder.encode_queries(texts).vectors, expected, atol=5e-3)
    assert encoder.encode_documents(texts).lengths.tolist() == [5, 2]
    assert "c50%" in encoder.fingerprint.pooling


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    done: tuple[Path, dict], config: TrainingConfig, tmp_path: Path
) -> None:
    class StopError(Exception):
        pass

    def stop(phase: str, step: int, _total: int | None) -> None:
        if phase == "train" and step == 9:
            raise StopError

    cache = done[0] / "cache"
    with pytest.raises(StopError):
        train(config, tmp_path / "run", cache=cache, progress=stop)
    (tmp_path / "run" / "checkpoints" / "checkpoint-8").mkdir()  # as one killed while it saves leaves it
    assert not (tmp_path / "run" / "head.safetensors").exists()
    seen: list[int] = []
    train(config, tmp_path / "run", cache=cache, progress=lambda _phase, step, _total: seen.append(step))
    assert seen == [7, 8, 9, 10, 11, 12]
    whole, resumed = head_of(done[0]), head_of(tmp_path / "run")
    for part in ("mix", "weight", "bias"):
        np.testing.assert_allclose(getattr(resumed, part), getattr(whole, part), atol=1e-6)
    with pytest.raises(InvalidInputError, match="other config"):
        train(replace(config, run=replace(config.run, seed=1)), tmp_path / "run", cache=cache)


def test_unfrozen_layers_are_trained_and_frozen_ones_are_not(
    done: tuple[Path, dict], config: TrainingConfig, base: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    changed = replace(
        config,
        model=replace(config.model, unfrozen_layers=1),
        run=replace(config.run, steps=2, evaluate_every=2, backbone_lr=1e-2, mining="none"),
    )
    train(changed, tmp_path / "run", cache=done[0] / "cache")
    before, after = load_file(base / "model.safetensors"), load_file(tmp_path / "run" / "model" / "model.safetensors")
    moved = {name for name in before if not np.allclose(before[name], after[name])}
    assert moved
    assert all(".layer.1." in name for name in moved)
    assert load_encoder(tmp_path / "run" / "model", offline=True).dim == 16


def test_a_head_over_a_bundled_model_is_exported_without_its_graph(data: Path, tmp_path: Path) -> None:
    from latefold.encoders.training.export import export_run

    config = parse_config(
        {
            "data": {"files": [str(data)], "held_out": 0.0},
            "model": {"dim": 32, "nested": [16]},
            "run": {"steps": 2, "batch": 8, "mining": "none"},
        },
        Path("/"),
    )
    result = train(config, tmp_path / "run")
    assert "model" not in result
    export_run(tmp_path / "run", tmp_path / "mine")
    encoder = load_encoder(tmp_path / "mine")
    made = encoder.encode_documents(["Green tea is brewed with water."])
    assert made.dim == 32
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    assert not (tmp_path / "mine" / "model.onnx").exists()
    described = json.loads((tmp_path / "mine" / "model.json").read_text())["training"]
    assert described["config"]["data"]["files"] == [data.name] == [entry["file"] for entry in described["data"]]


def test_a_transformer_is_exported_as_a_graph_of_its_own(done: tuple[Path, dict], tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    from latefold.encoders.training.export import export_run

    export_run(done[0], tmp_path / "mine")
    text = [" ".join(WORDS[:9])]
    small = load_encoder(tmp_path / "mine").encode_queries(text).vectors
    exact = load_encoder(done[0] / "model", offline=True).encode_queries(text).vectors
    assert (small * exact).sum(axis=1).mean() > 0.95, "8 bits change the vectors little"


@pytest.mark.parametrize(("key", "value"), [("model_type", "roberta"), ("hidden_act", "relu")])
def test_transformers_that_are_not_bert_are_not_exported(
    done: tuple[Path, dict], tmp_path: Path, key: str, value: str
) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    from latefold.encoders.training.export import export_run

    run = Path(shutil.copytree(done[0], tmp_path / "run"))
    described = json.loads((run / "model" / "config.json").read_text())
    (run / "model" / "config.json").write_text(json.dumps(described | {key: value}))
    with pytest.raises(EncoderError, match=f"{key} '{value}'"):
        export_run(run, tmp_path / "mine")
    with pytest.raises(InvalidInputError, match="folder of the run"):
        export_run(run, run)


def test_saved_weights_lie_between_those_of_the_base_and_the_trained_ones(
    done: tuple[Path, dict], config: TrainingConfig, tmp_path: Path
) -> None:
    trained, heads, result = head_of(done[0]), {}, {}
    for share in (1e-9, 0.5):
        changed = replace(config, model=replace(config.model, share=share))
        result[share] = train(changed, tmp_path / str(share))
        heads[share] = head_of(tmp_path / str(share))
    expected = (heads[1e-9].weight + trained.weight) / 2
    np.testing.assert_allclose(heads[0.5].weight, expected, atol=1e-5)
    assert np.abs(heads[0.5].weight - trained.weight).max() > 1e-3
    assert result[0.5]["before"] == done[1]["before"]
    assert result[1e-9]["after"]["stable_rank"] == pytest.approx(done[1]["before"]["stable_rank"], rel=1e-4)
    curves = json.loads((tmp_path / "0.5" / "curves.json").read_text())
    assert [entry["step"] for entry in curves["evaluation"]] == [0, 6, 12], "the last one is of what was saved"


@pytest.mark.parametrize("frozen_int8", [False, True])
def test_unfrozen_layers_of_a_bundled_model_are_exported_as_what_they_change(
    config: TrainingConfig, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frozen_int8: bool
) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    from latefold.encoders.training.export import export_run, write_backbone

    tiny = tmp_path / "models" / "tiny"
    write_backbone(base, tiny, corpus=[data])
    monkeypatch.setattr(model_folder, "MODELS", tmp_path / "models")
    changed = replace(
        config,
        model=replace(
            config.model,
            base="tiny",
            checkpoint=str(base),
            unfrozen_layers=1,
            frozen_int8=frozen_int8,
            marker=2.0,
            saved_marker=3.0,
            share=0.8,
        ),
        run=replace(config.run, steps=3, evaluate_every=3, backbone_lr=1e-2, mining="none"),
    )
    train(changed, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "mine")
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "mine").iterdir()}
    assert set(sizes) == {"model.json", "head.safetensors", "delta.safetensors"}
    assert str(tmp_path) not in (tmp_path / "mine" / "model.json").read_text(), "paths stay on the machine"
    assert sizes["delta.safetensors"] < 0.6 * (tiny / "model.onnx").stat().st_size
    text = [" ".join(WORDS[:9])]
    small = load_encoder(f"{tmp_path / 'mine'}:none").encode_queries(text).vectors
    exact = load_encoder(tmp_path / "run" / "model", offline=True).encode_queries(text).vectors
    for vectors in (small, exact):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [3] + [1] * (len(vectors) - 1), rtol=1e-5)
    assert (small * exact)[1:].sum(axis=1).mean() > 0.95, "8 bits change the vectors little"


def test_int8_layers_give_nearly_the_hidden_states_of_the_checkpoint_and_are_put_back(
    base: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="the extra 'export' is not installed")
    from latefold.encoders.model_folder import ModelFolder
    from latefold.encoders.training.export import write_backbone
    from latefold.encoders.training.lower_layers import LowerLayers

    write_backbone(base, tmp_path / "int8", corpus=[data])
    bert = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    embeddings, layers = bert.embeddings, list(bert.encoder.layer)
    ids = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
    mask = ids != 0
    with torch.no_grad():
        exact = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        lower = LowerLayers(bert, ModelFolder.read(tmp_path / "int8"), 1)
        made = lower(ids)
        assert torch.nn.functional.cosine_similarity(made[mask], exact.hidden_states[1][mask]).min() > 0.95
        assert not made[~mask].any()
        last = bert(input_ids=ids, attention_mask=mask).last_hidden_state
        assert torch.nn.functional.cosine_similarity(last[mask], exact.last_hidden_state[mask]).min() > 0.95
    assert list(bert.encoder.layer) == layers[1:]
    lower.restore(bert)
    assert bert.embeddings is embeddings
    assert list(bert.encoder.layer) == layers
    with pytest.raises(EncoderError, match="has 2 layers, not 3"):
        LowerLayers(bert, ModelFolder.read(tmp_path / "int8"), 3)


def test_unusable_bases_and_dimensions_are_named(config: TrainingConfig, tmp_path: Path) -> None:
    wide = replace(config, model=replace(config.model, dim=64))
    with pytest.raises(InvalidInputError, match="32 dimensions"):
        train(wide, tmp_path / "wide")
    with pytest.raises(InvalidInputError, match=r"frozen_int8 needs a bundled model\.base"):
        replace(config, model=replace(config.model, unfrozen_layers=1, frozen_int8=True))
    deep = replace(config, model=replace(config.model, unfrozen_layers=3))
    with pytest.raises(InvalidInputError, match="2 layers"):
        train(deep, tmp_path / "deep")
    (tmp_path / "empty").mkdir()
    cut = Path(shutil.copytree(config.model.base, tmp_path / "cut"))
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    for folder, reason in ((tmp_path / "empty", "no weights"), (cut, "cannot load the checkpoint")):
        with pytest.raises(EncoderError, match=reason):
            train(replace(config, model=replace(config.model, base=str(folder))), tmp_path / "none")
    with pytest.raises(InvalidInputError, match="trained head already"):
        train(replace(config, model=replace(config.model, base="latefold")), tmp_path / "twice")


def test_the_head_ignores_padding_and_is_the_formula() -> None:
    torch.manual_seed(0)
    head = TokenHead(6, 4, mix=0.3)
    torch.nn.init.normal_(head.weight)
    tokens = torch.nn.functional.normalize(torch.randn(2, 5, 6), dim=-1)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    made = head({"token_embeddings": tokens, "attention_mask": mask})["token_embeddings"].detach()
    twin = Head(np.float32(0.3), head.weight.detach().numpy(), np.zeros(4, np.float32))
    flat = torch.cat([tokens[0], tokens[1, :2]]).numpy()
    expected = project(twin, flat, [0, 5, 7], 4)
    got = torch.nn.functional.normalize(torch.cat([made[0], made[1, :2]]), dim=-1).numpy()
    np.testing.assert_allclose(got, expected, atol=1e-5)
