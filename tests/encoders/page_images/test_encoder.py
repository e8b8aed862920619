"""Page-image encoders of every family: the vectors, what they saw, and what they received."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sentence_transformers", reason="the extra 'models' is not installed")

import torch
from PIL import Image

from latefold.encoders.errors import InvalidInputError
from latefold.encoders.page_images import encoder as module
from latefold.encoders.page_images.encoder import PageImagesEncoder
from latefold.encoders.page_images.retriever import attention_weights, last_attention
from latefold.encoders.pages import PageEncoder

SIZES = [(90, 120), (190, 60), (1, 1), (7, 900), (84, 84), (1300, 5)]


def page(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 7 * width + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


PAGES = [page(*size) for size in SIZES]
TEXTS = ["late fold", "  h\u00e9llo <image> <|image_pad|> ", "", "x" * 90, "\ud800\0"]


def maxsim(query: np.ndarray, document: np.ndarray) -> float:
    return float((query @ document.T).max(axis=1).sum())


def own_vectors(family: str, folder: Path) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Vectors of `TEXTS[:1]` as queries and of `PAGES[:3]`, one at a time, by the classes that the checkpoint names."""
    import page_checkpoints
    import transformers
    from transformers.models.colqwen2 import ColQwen2Processor

    images = [Image.fromarray(pixels) for pixels in PAGES[:3]]
    if family == "pipeline":
        model = transformers_pipeline(folder)
        return model.encode_query(TEXTS[:1]), [model.encode_document(image) for image in images]
    if family in ("colqwen2_merged", "colqwen2_5", "colidefics3"):
        return engine_vectors(family, folder, images, page_checkpoints, ColQwen2Processor)
    (name,) = transformers.AutoConfig.from_pretrained(folder).architectures
    model = getattr(transformers, name).from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        queries = list(model(**processor.process_queries(text=TEXTS[:1])).embeddings)
        return queries, [model(**processor.process_images(images=[image])).embeddings[0] for image in images]


def transformers_pipeline(folder: Path):
    from sentence_transformers import MultiVectorEncoder

    return MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)


def engine_vectors(family: str, folder: Path, images: list, made, qwen: type) -> tuple[list, list]:
    """As the processors and classes of colpali-engine do it; Qwen-VL numbers patches in two dimensions."""
    from transformers import AutoProcessor

    if family == "colidefics3":
        model, processor = made.ColIdefics3.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
        marker = "<end_of_utterance>"
        prompt = f"<|im_start|>User:<image>Describe the image.{marker}\nAssistant:"
        inputs = [dict(processor(text=[prompt], images=[[image]], return_tensors="pt")) for image in images]
    else:
        kind = made.ColQwen2_5 if family == "colqwen2_5" else made.ColQwen2
        model, processor = kind.from_pretrained(folder), qwen.from_pretrained(folder)
        marker = "<|endoftext|>"
        inputs = [dict(processor.process_images(images=[image])) for image in images]
        for one in inputs:
            one["pixel_values"] = one["pixel_values"][0]
            one["mm_token_type_ids"] = (one["input_ids"] == processor.image_token_id).int()
    query = processor.tokenizer([TEXTS[0] + marker * 10], return_tensors="pt")
    with torch.inference_mode():
        return list(model.eval().embed(**query)), [model.embed(**one)[0] for one in inputs]


def test_scores_are_those_of_the_model(family: str, folder: Path, encoder: PageImagesEncoder) -> None:
    queries, pages = own_vectors(family, folder)
    got = encoder.encode_images(PAGES[:3]).embeddings
    (query,) = encoder.encode_queries(TEXTS[:1])
    np.testing.assert_allclose(query, queries[0].numpy(), atol=1e-5)
    for mine, own in zip(got, pages, strict=True):
        np.testing.assert_allclose(mine, own.numpy(), atol=1e-5)
        assert maxsim(query, mine) == pytest.approx(maxsim(queries[0].numpy(), own.numpy()), abs=1e-4)


def test_the_scorer_of_the_processors_agrees(page_folders: dict[str, Path], page_encoders: dict[str, object]) -> None:
    from transformers import AutoProcessor

    for family in ("colpali", "colqwen2", "colmodernvbert"):
        encoder = page_encoders[family]
        queries, pages = list(encoder.encode_queries(TEXTS[:2])), list(encoder.encode_images(PAGES[:1]).embeddings)
        score = AutoProcessor.from_pretrained(page_folders[family]).score_retrieval
        theirs = score([torch.tensor(query) for query in queries], [torch.tensor(one) for one in pages])
        np.testing.assert_allclose(theirs[:, 0], [maxsim(query, pages[0]) for query in queries], atol=1e-4)


def test_vectors_do_not_depend_on_the_batch(encoder: PageImagesEncoder) -> None:
    together = encoder.encode_images(PAGES)
    assert together.embeddings.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together.embeddings.vectors, axis=1), 1, atol=1e-5)
    for i, pixels in enumerate(PAGES):
        np.testing.assert_allclose(encoder.encode_images([pixels]).embeddings[0], together.embeddings[i], atol=1e-4)
    assert np.abs(together.embeddings[0][-1] - together.embeddings[4][-1]).max() > 1e-3, "pages must differ"
    for encode in (encoder.encode_queries, encoder.encode_documents):
        texts = encode(TEXTS)
        for i, text in enumerate(TEXTS):
            np.testing.assert_allclose(encode([text])[0], texts[i], atol=1e-4)


def test_boxes_are_known_without_the_model(encoder: PageImagesEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    made = encoder.encode_images(PAGES)
    monkeypatch.setattr(encoder, "_forward", None)
    boxes = encoder.image_boxes(SIZES)
    assert [len(one) for one in boxes] == made.embeddings.lengths.tolist()
    np.testing.assert_array_equal(np.concatenate(boxes), made.boxes)
    assert isinstance(encoder, PageEncoder)


def test_words_of_the_prompt_have_no_box(encoder: PageImagesEncoder) -> None:
    (boxes,) = encoder.image_boxes([(84, 84)])
    empty = ~boxes.any(axis=1)
    assert 0 < empty.sum() < len(boxes)
    assert len(encoder._model.grid.boxes(84, 84)) == (~empty).sum()


def language_inputs(encoder: PageImagesEncoder, pixels: np.ndarray) -> np.ndarray:
    """What the language model is given for each vector of a page, when the vision tower has no layers: `(n, width)`.

    Then each input is made from its own patches alone, whatever the order of tiles, windows and merges.
    """
    network = encoder._model.network
    removed = {}
    for name, layers in list(network.named_modules()):
        if isinstance(layers, torch.nn.ModuleList) and ("vision" in name or "visual" in name):
            parent = network.get_submodule(name.rpartition(".")[0])
            if not any(name.startswith(other + ".") for other in removed):
                removed[name] = (parent, name.rpartition(".")[2], layers)
    seen = []

    def keep(owner, args, kwargs) -> None:
        seen.append(kwargs["inputs_embeds"][0].clone().numpy())

    attention = last_attention(network)
    owner = [part for part in network.modules() if hasattr(part, "layers") and attention in list(part.modules())][-1]
    handle = owner.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        for parent, key, _ in removed.values():
            setattr(parent, key, torch.nn.ModuleList())
        encoder.encode_images([pixels])
    finally:
        handle.remove()
        for parent, key, layers in removed.values():
            setattr(parent, key, layers)
    assert removed
    return seen[-1]


def changed_by(encoder: PageImagesEncoder, pixels: np.ndarray, region: tuple[int, int, int, int]) -> np.ndarray:
    """`(n,)` how much each vector's input changes when the pixels of a region are inverted."""
    left, top, right, bottom = region
    other = pixels.copy()
    other[top:bottom, left:right] = 255 - other[top:bottom, left:right]
    return np.abs(language_inputs(encoder, pixels) - language_inputs(encoder, other)).max(axis=1)


REGIONS = [(0, 0, 9, 9), (30, 2, 34, 6), (60, 45, 70, 53), (33, 30, 52, 41)]


@pytest.mark.parametrize("region", REGIONS)
def test_a_change_on_the_page_reaches_the_vectors_whose_boxes_it_meets(
    family: str, encoder: PageImagesEncoder, region: tuple[int, int, int, int]
) -> None:
    """On a page that the processor does not resample, the vectors reached are exactly those whose boxes meet it.

    The whole page as one tile is a reduced picture: there a change may also reach the box next to it.
    """
    size = (56, 56) if family == "colpali" else (84, 56)
    if family == "colpali":
        region = tuple(edge * 56 // 84 if i % 2 == 0 else edge for i, edge in enumerate(region))
    changed = changed_by(encoder, page(*size), region) > 1e-5
    (boxes,) = encoder.image_boxes([size])
    pixels = boxes * np.array([*size, *size])
    meets = meeting(pixels, region)
    whole = slice(-4 - prompt_after(boxes), None) if len(encoder._model.grid.boxes(*size)) > 16 else slice(0, 0)
    exact = np.ones(len(boxes), bool)
    exact[whole] = False
    np.testing.assert_array_equal(changed[exact], meets[exact])
    grown = meeting(pixels, tuple(edge + step for edge, step in zip(region, (-12, -12, 12, 12), strict=True)))
    assert (changed | ~meets).all()
    assert (grown | ~changed).all()


def meeting(boxes: np.ndarray, region: tuple[int, ...]) -> np.ndarray:
    left, top, right, bottom = region
    with_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    across = (boxes[:, 0] < right - 1e-3) & (boxes[:, 2] > left + 1e-3)
    return with_area & across & (boxes[:, 1] < bottom - 1e-3) & (boxes[:, 3] > top + 1e-3)


def prompt_after(boxes: np.ndarray) -> int:
    """Vectors after the last that has a box."""
    return len(boxes) - 1 - int(np.flatnonzero(boxes.any(axis=1)).max())


@pytest.mark.parametrize("size", [(150, 77), (61, 203), (400, 90)])
def test_on_a_resampled_page_the_change_is_greatest_where_the_box_is(
    encoder: PageImagesEncoder, size: tuple[int, int]
) -> None:
    width, height = size
    (boxes,) = encoder.image_boxes([size])
    pixels = boxes * np.array([width, height, width, height])
    fine = np.flatnonzero(boxes.any(axis=1))[: len(encoder._model.grid.boxes(*size))]
    for target in fine[[1, len(fine) // 2]]:
        left, top, right, bottom = np.round(pixels[target]).astype(int)
        region = (left, top, max(right, left + 1), max(bottom, top + 1))
        changed = changed_by(encoder, page(*size), region)
        near = meeting(pixels, tuple(edge + step for edge, step in zip(region, (-1, -1, 1, 1), strict=True)))
        assert near[np.argmax(changed)]
        assert changed[target] > 0.1 * changed.max()


def own_attention(family: str, folder: Path, pixels: np.ndarray) -> torch.Tensor:
    """`(heads, length, length)` of the last layer, from what the language model itself gives with output_attentions."""
    encoder = PageImagesEncoder(str(folder), offline=True)
    network = encoder._model.network
    attention = last_attention(network)
    owner = [part for part in network.modules() if hasattr(part, "layers") and attention in list(part.modules())][-1]
    for part in network.modules():
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
    kept = []

    def ask(module, args, kwargs):
        return args, {**kwargs, "output_attentions": True}

    def keep(module, args, output) -> None:
        kept.append(output.attentions[-1][0])

    with owner.register_forward_pre_hook(ask, with_kwargs=True), owner.register_forward_hook(keep):
        encoder.encode_images([pixels])
    return kept[-1]


def test_saliency_is_the_attention_of_the_last_layer(family: str, folder: Path, encoder: PageImagesEncoder) -> None:
    made = encoder.encode_images([PAGES[1], PAGES[0]], saliency=True)
    plain = encoder.encode_images([PAGES[1], PAGES[0]])
    assert made.saliency.dtype == np.float32
    assert plain.saliency is None
    np.testing.assert_allclose(made.embeddings.vectors, plain.embeddings.vectors, atol=1e-5)
    attention = own_attention(family, folder, PAGES[0]).mean(dim=0).numpy()
    mine = made.saliency[made.embeddings.offsets[1] :]
    np.testing.assert_allclose(mine, attention[-1], atol=1e-5)
    assert (mine >= 0).all()
    assert mine.sum() == pytest.approx(1, abs=1e-4)
    assert mine.std() > 0
    every = PageImagesEncoder(str(folder), offline=True, attention_of="all").encode_images(
        [PAGES[1], PAGES[0]], saliency=True
    )
    np.testing.assert_allclose(every.saliency[every.embeddings.offsets[1] :], attention.mean(axis=0), atol=1e-5)


def test_the_way_attention_is_computed_is_put_back(encoder: PageImagesEncoder) -> None:
    network = encoder._model.network
    parts = [part for part in network.modules() if hasattr(getattr(part, "config", None), "_attn_implementation")]
    before = [part.config._attn_implementation for part in parts]
    assert set(before) == {"sdpa"}
    with pytest.raises(KeyError), attention_weights(network):
        raise KeyError
    assert [part.config._attn_implementation for part in parts] == before


def words(text: str, spans: np.ndarray) -> str:
    return "".join(text[start:end] for start, end in spans)


def test_spans_give_back_the_text(encoder: PageImagesEncoder) -> None:
    for encode, spans in (
        (encoder.encode_queries, encoder.query_spans),
        (encoder.encode_documents, encoder.document_spans),
    ):
        got = spans(TEXTS)
        assert [len(one) for one in got] == encode(TEXTS).lengths.tolist()
        assert words(TEXTS[0], got[0]) == TEXTS[0]
        assert words(TEXTS[3], got[3]) == TEXTS[3]


def test_passages_have_no_augmentation_tokens(family: str, encoder: PageImagesEncoder) -> None:
    query, passage = (
        encoder.encode_queries(["late fold"]).lengths[0],
        encoder.encode_documents(["late fold"]).lengths[0],
    )
    assert passage < query if family == "pipeline" else passage + 10 <= query


def test_texts_that_name_pictures_are_texts(encoder: PageImagesEncoder, tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    texts = [str(tmp_path / "a.png"), "https://host.invalid/a.png", "data:image/png;base64,AAAA"]
    for encode, spans in (
        (encoder.encode_queries, encoder.query_spans),
        (encoder.encode_documents, encoder.document_spans),
    ):
        assert encode(texts).lengths.min() >= 20
        assert [words(text, one) for text, one in zip(texts, spans(texts), strict=True)] == texts


def test_pages_are_taken_once_and_in_batches(encoder: PageImagesEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VECTORS_PER_BATCH", 90)
    taken: list[int] = []
    batches: list[int] = []

    class Lazy(list):
        def __getitem__(self, item: int) -> np.ndarray:
            taken.append(item)
            return super().__getitem__(item)

    forward = encoder._forward
    monkeypatch.setattr(
        encoder,
        "_forward",
        lambda rendered, *rest, **named: (
            batches.append(len(rendered.features["input_ids"])),
            forward(rendered, *rest, **named),
        )[1],
    )
    seen: list[tuple[str, int, int | None]] = []
    made = encoder.encode_images(Lazy(PAGES), lambda *call: seen.append(call))
    assert taken == list(range(len(PAGES)))
    assert 1 < len(batches) == len(seen)
    assert sum(batches) == len(PAGES)
    assert seen[-1] == ("encode", len(PAGES), len(PAGES))
    monkeypatch.undo()
    np.testing.assert_allclose(made.embeddings.vectors, encoder.encode_images(PAGES).embeddings.vectors, atol=1e-4)


def test_nothing_in_gives_nothing_out(encoder: PageImagesEncoder) -> None:
    made = encoder.encode_images([], saliency=True)
    assert (len(made.embeddings), made.embeddings.dim, made.boxes.shape, made.saliency.shape) == (0, 12, (0, 4), (0,))
    assert encoder.image_boxes([]) == []
    assert (len(encoder.encode_documents([])), encoder.encode_queries([]).dim) == (0, 12)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_page_is_refused(page_encoders: dict[str, object], pixels: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="image 1"):
        page_encoders["colpali"].encode_images([PAGES[0], pixels])


def test_one_text_in_place_of_a_list_is_refused(page_encoders: dict[str, object]) -> None:
    encoder = page_encoders["colpali"]
    for call in (encoder.encode_queries, encoder.encode_documents, encoder.query_spans, encoder.document_spans):
        with pytest.raises(InvalidInputError, match="a list of texts"):
            call("text")
