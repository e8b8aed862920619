"""Pooling in torch: equal to the compiled one, differentiable, saved and loaded with a checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from latefold import TokenEmbeddings
from latefold.encoders.base import Encoder, load_encoder
from latefold.encoders.errors import InvalidInputError
from latefold.encoders.pooling.base import MAX_TOKENS, Pooling, pool
from latefold.encoders.pooling.modules import CrispPooling, assign, crisp_pool, load_model
from latefold.encoders.pooling.ward import ward

NAMES = ["none", "c1", "c4", "c8:raw", "c25%", "c50%", "c4:iterations=0", "k2", "tail3"]


def ragged(seed: int, lengths: list[int], dim: int, whole: bool = False) -> TokenEmbeddings:
    """Random unit vectors, or small whole numbers, among which equal, opposite and zero vectors abound."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-1, 2, (sum(lengths), dim)) if whole else rng.standard_normal((sum(lengths), dim))
    norms = 1 if whole else np.linalg.norm(vectors, axis=1, keepdims=True)
    return TokenEmbeddings((vectors / norms).astype(np.float32), np.cumsum([0, *lengths]))


def padded(embeddings: TokenEmbeddings, seed: int = 0, extra: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """The texts as a batch whose padding lies at random places and holds NaN."""
    rng = np.random.default_rng(seed)
    length = int(embeddings.lengths.max(initial=0)) + extra
    mask = torch.zeros(len(embeddings), length, dtype=torch.bool)
    batch = torch.full((len(embeddings), length, embeddings.dim), torch.nan)
    for i, text in enumerate(embeddings):
        mask[i, np.sort(rng.permutation(length)[: len(text)])] = True
        batch[i, mask[i]] = torch.from_numpy(np.array(text))
    return batch, mask


@given(
    st.integers(0, 2**32 - 1), st.lists(st.integers(0, 24), min_size=1, max_size=5), st.integers(1, 9),
    st.booleans(), st.sampled_from(NAMES), st.booleans(),
)  # fmt: skip
@settings(max_examples=150)
def test_pooled_vectors_are_those_of_the_compiled_pooling(seed, lengths, dim, whole, name, weighted) -> None:
    embeddings = ragged(seed, lengths, dim, whole)
    batch, mask = padded(embeddings, seed)
    weights = np.random.default_rng(seed).random(len(embeddings.vectors)).astype(np.float32) if weighted else None
    spread = None
    if weights is not None:
        spread = torch.full(mask.shape, torch.nan)
        spread[mask] = torch.from_numpy(weights)
    wanted, places = pool(embeddings, Pooling.parse(name), weights)
    pooled, kept = crisp_pool(batch, mask, Pooling.parse(name), spread)
    assert kept.sum(1).tolist() == wanted.lengths.tolist()
    np.testing.assert_allclose(pooled[kept].numpy(), wanted.vectors, atol=1e-5)
    assert not pooled[~kept].any()
    if weights is None:
        found = assign(batch, mask, Pooling.parse(name))
        np.testing.assert_array_equal(found[mask].numpy(), places)
        assert (found[~mask] == -1).all()


@pytest.mark.parametrize("name", ["c8", "c33%", "c50%:raw"])
def test_the_tokens_of_real_text_are_pooled_as_by_the_compiled_pooling(name: str) -> None:
    text = (Path(__file__).parents[3] / "ARCHITECTURE.md").read_text("utf-8")
    embeddings = load_encoder("minilm", threads=1).encode_documents(text.split("\n\n")[:16])
    pooled, kept = crisp_pool(*padded(embeddings), Pooling.parse(name))
    np.testing.assert_allclose(pooled[kept].numpy(), pool(embeddings, Pooling.parse(name))[0].vectors, atol=1e-5)


def test_each_member_of_a_cluster_gets_its_share_of_the_gradient() -> None:
    batch, mask = padded(ragged(1, [20, 9], 6))
    batch.requires_grad_()
    pooled, kept = crisp_pool(batch, mask, Pooling.parse("c5:raw"))
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1)) * kept.unsqueeze(2)
    (pooled * upstream).sum().backward()
    places = assign(batch.detach(), mask, Pooling.parse("c5:raw"))
    for i in range(2):
        size = torch.bincount(places[i][mask[i]])
        wanted = upstream[i][places[i][mask[i]]] / size[places[i][mask[i]]].unsqueeze(1)
        torch.testing.assert_close(batch.grad[i][mask[i]], wanted)
    assert not batch.grad[~mask].any()


@pytest.mark.parametrize("name", ["c4", "c4:raw", "c50%", "k2", "tail3"])
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    batch, mask = padded(ragged(2, [8, 3, 0], 4))
    batch = batch.double().masked_fill(~mask.unsqueeze(2), 0).requires_grad_()
    pooling = Pooling.parse(name)
    assert torch.autograd.gradcheck(lambda x: crisp_pool(x, mask, pooling)[0], batch)


def test_gradients_are_finite_where_means_vanish() -> None:
    x = torch.tensor([[[1.0, 0], [-1, 0], [0, 0], [0, 0]]], requires_grad=True)
    pooled, _ = crisp_pool(x, torch.ones(1, 4), Pooling.parse("c1"))
    pooled.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_what_is_not_finite_stays_so_and_goes_no_further() -> None:
    batch, mask = padded(ragged(8, [20, 20], 4))
    batch[0, mask[0]] = torch.nan
    pooled, kept = crisp_pool(batch, mask, Pooling.parse("c4"))
    assert kept.sum(1).tolist() == [4, 4]
    assert pooled[0].isnan().any()
    assert torch.isfinite(pooled[1]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept(dtype: torch.dtype) -> None:
    batch, mask = padded(ragged(3, [20, 5], 8))
    pooled, kept = crisp_pool(batch.to(dtype), mask, Pooling.parse("c4"))
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled[kept].float().norm(dim=1), torch.ones(8), atol=1e-2, rtol=0)


@pytest.mark.parametrize("shape", [(0, 5, 4), (2, 0, 4), (2, 3, 4)])
@pytest.mark.parametrize("name", NAMES)
def test_batches_without_tokens_give_no_vectors(shape: tuple[int, int, int], name: str) -> None:
    pooled, kept = crisp_pool(torch.zeros(shape), torch.zeros(shape[:2]), Pooling.parse(name))
    assert (tuple(pooled.shape), tuple(kept.shape)) == ((shape[0], 0, 4), (shape[0], 0))


def test_texts_too_long_to_cluster_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="too long to cluster"):
        crisp_pool(torch.zeros(1, MAX_TOKENS + 1, 1), torch.ones(1, MAX_TOKENS + 1), Pooling.parse("c8"))


def test_a_module_pools_the_tasks_it_was_given_a_pooling_for() -> None:
    batch, mask = padded(ragged(4, [9, 3], 4))
    assert CrispPooling().tasks == []
    assert CrispPooling("c8", "c4").tasks == ["document", "query"]
    module = CrispPooling(documents="k2")
    made = {task: module({"token_embeddings": batch, "attention_mask": mask.long()}, task=task) for task in
            ("query", "document", None)}  # fmt: skip
    assert made["query"]["token_embeddings"] is batch
    for task in ("document", None):
        assert made[task]["attention_mask"].sum(1).tolist() == [5, 2]


def test_the_central_token_is_a_member_and_the_nearest_one() -> None:
    batch, mask = padded(ragged(5, [20, 7], 6))
    features = {"token_embeddings": batch, "attention_mask": mask}
    made = CrispPooling("c4").eval()(dict(features))
    places = assign(batch, mask, Pooling.parse("c4"))
    for i in range(2):
        for k, token in enumerate(made["central_tokens"][i].tolist()):
            members = (places[i] == k).nonzero().squeeze(1)
            cosines = batch[i, members] @ made["token_embeddings"][i, k]
            assert token in members
            assert batch[i, token] @ made["token_embeddings"][i, k] >= cosines.max() - 1e-6
    assert "central_tokens" not in CrispPooling("c4").train()(dict(features))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("given_mask", [True, False])
def test_embeddings_made_before_can_be_pooled(side: str, given_mask: bool) -> None:
    embeddings = ragged(6, [9, 0, 30, 2], 6)
    module = CrispPooling("c4", "tail2")
    texts = [torch.from_numpy(np.array(text)) for text in embeddings]
    wanted = {
        "document": pool(embeddings, Pooling.parse("c4"))[0],
        "query": pool(embeddings, Pooling.parse("tail2"))[0],
    }
    batch = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_side=side)
    mask = torch.nn.utils.rnn.pad_sequence([t.new_ones(len(t)) for t in texts], batch_first=True, padding_side=side)
    for task, pooled in wanted.items():
        made = module.pool(batch, task=task, attention_mask=mask if given_mask else None, padding_side=side)
        for i, text in enumerate(module.pool(texts, task=task)):
            np.testing.assert_allclose(text.numpy(), pooled[i], atol=1e-5)
            if len(text):
                rows = made[i, -len(text) :] if side == "left" else made[i, : len(text)]
                np.testing.assert_allclose(rows.numpy(), pooled[i], atol=1e-5)
    np.testing.assert_allclose(module.pool_one(texts[0]).numpy(), wanted["document"][0], atol=1e-5)
    assert CrispPooling("c4").pool(texts, task="query") is texts


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4), [torch.zeros(3)]])
def test_embeddings_of_a_wrong_shape_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        CrispPooling("c4").pool(wrong)
    assert CrispPooling("c4").pool([]) == []
    assert CrispPooling("c4").pool(torch.zeros(0, 5, 4)).shape == (0, 0, 4)


@pytest.mark.parametrize(
    ("factor", "protected", "renormalize"), [(1, 1, True), (2, 1, True), (3, 0, False), (1.5, 2, True)]
)
def test_ward_is_that_of_sentence_transformers(factor: float, protected: int, renormalize: bool) -> None:
    embeddings = ragged(7, [20, 1, 2, 50], 8)
    library = HierarchicalTokenPooling(factor, num_protected_tokens=protected, normalize_embeddings=renormalize)
    pooled = ward(embeddings, factor, protected=protected, renormalize=renormalize)
    features = {"token_embeddings": padded(embeddings)[0].nan_to_num(), "attention_mask": padded(embeddings)[1]}
    made = library(features)
    for i, text in enumerate(pooled):
        found = made["token_embeddings"][i][made["attention_mask"][i].bool()].numpy()
        np.testing.assert_allclose(found[np.lexsort(found.T)], text[np.lexsort(text.T)], atol=1e-5)


WORDS = "late fold token vector search pool mean word one two".split()
TEXT = " ".join(WORDS * 2)


def save_checkpoint(folder: Path, *extra: torch.nn.Module) -> Path:
    """A native multi-vector checkpoint with a tiny random backbone, to which `extra` is added."""
    torch.manual_seed(7)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backbone = folder.with_name(folder.name + "-backbone")
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=48, **names).save_pretrained(backbone)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(backbone)
    modules = [
        Transformer(str(backbone)),
        Dense(16, 8, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask(),
        Normalize(module_input_name="token_embeddings"),
        *extra,
    ]
    MultiVectorEncoder(modules=modules, device="cpu").save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("pooled") / "model", CrispPooling("c4", "c50%:raw"))


@pytest.fixture(scope="module")
def encoder(pooled: Path) -> Encoder:
    return load_encoder(pooled, offline=True, threads=1)


def test_a_checkpoint_is_loaded_with_its_pooling_and_no_code_is_trusted(encoder: Encoder, plain: Path) -> None:
    tokens = load_encoder(plain, offline=True)
    texts = [TEXT, "fold", ""]
    for made, given_tokens, name in (
        (encoder.encode_documents(texts), tokens.encode_documents(texts), "c4"),
        (encoder.encode_queries(texts), tokens.encode_queries(texts), "c50%:raw"),
    ):
        wanted, _ = pool(given_tokens, Pooling.parse(name))
        assert made.lengths.tolist() == wanted.lengths.tolist()
        np.testing.assert_allclose(made.vectors, wanted.vectors, atol=1e-5)
    assert "CrispPooling" in encoder.fingerprint.pooling
    assert "c50%:raw" in encoder.fingerprint.pooling
    assert encoder.fingerprint.digest != tokens.fingerprint.digest


def test_a_model_saved_again_stays_the_same(pooled: Path, tmp_path: Path) -> None:
    model = load_model(pooled, device="cpu", local_files_only=True)
    model.save(str(tmp_path / "again"), create_model_card=False)
    again = load_model(tmp_path / "again", device="cpu", local_files_only=True)
    module = next(module for module in again if isinstance(module, CrispPooling))
    assert (module.documents, module.queries) == ("c4", "c50%:raw")
    np.testing.assert_array_equal(again.encode_document(TEXT), model.encode_document(TEXT))


def test_other_classes_stay_untrusted_beside_ours(pooled: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pooled, tmp_path / "foreign")
    modules = json.loads((folder / "modules.json").read_text())
    modules[3]["type"] = "os.path.Normalize"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(folder, device="cpu", local_files_only=True)


def test_one_call_can_be_pooled(plain: Path) -> None:
    model = load_model(plain, device="cpu", local_files_only=True)
    tokens = TokenEmbeddings.from_list([model.encode_document(TEXT)])
    made = model.encode_document(TEXT, token_pooling=CrispPooling("c33%"))
    np.testing.assert_allclose(made, pool(tokens, Pooling.parse("c33%"))[0].vectors, atol=1e-5)
    raw = model.encode_query(TEXT, token_pooling=CrispPooling("c33%"))
    assert len(raw) == len(tokens.vectors)


def test_a_pooled_vector_has_the_characters_of_its_central_token(encoder: Encoder, plain: Path) -> None:
    tokens = load_encoder(plain, offline=True)
    for pooled_spans, spans, made, given_tokens in (
        (encoder.document_spans, tokens.document_spans, encoder.encode_documents, tokens.encode_documents),
        (encoder.query_spans, tokens.query_spans, encoder.encode_queries, tokens.encode_queries),
    ):
        (found,), (words,), vectors, before = pooled_spans([TEXT]), spans([TEXT]), made([TEXT])[0], given_tokens([TEXT])
        assert len(found) == len(vectors) < len(words)
        _, places = pool(before, Pooling.parse("c4" if len(vectors) == 4 else "c50%"))
        for k, span in enumerate(found):
            members = np.flatnonzero(places == k)
            nearness = before.vectors[members] @ vectors[k]
            central = members[nearness > nearness.max() - 1e-5]  # both members of a pair are as near to their mean
            assert span.tolist() in words[central].tolist()
