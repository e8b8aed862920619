"""Tiny page-image checkpoints with random weights, of the real classes of transformers, built by the tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.models.colmodernvbert import ColModernVBertConfig, ColModernVBertForRetrieval, ColModernVBertProcessor
from transformers.models.colpali import ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor
from transformers.models.colqwen2 import ColQwen2Config, ColQwen2ForRetrieval, ColQwen2Processor
from transformers.models.idefics3 import Idefics3Config, Idefics3Model, Idefics3PreTrainedModel, Idefics3Processor
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.modernvbert import ModernVBertConfig
from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig, Qwen2_5_VLModel
from transformers.models.qwen2_vl import Qwen2VLConfig, Qwen2VLModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

DIM = 12
TEXT = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 4096,
}  # fmt: skip
SIGLIP = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
QWEN_MARKERS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
TILE_MARKERS = [
    "<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", "<|im_start|>", "<|begin_of_text|>",
    *(f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)),
]  # fmt: skip


CHAT = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if task == 'query' %}Answer:{% endif %}"
)


def tokenizer_of(markers: list[str], pad: str, *, side: str = "right", **names: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes: no merges, so that any text has tokens and offsets."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in [pad, *markers]])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=pad, padding_side=side, additional_special_tokens=markers, **names
    )


def colpali(folder: Path, *, size: int = 56, patch: int = 14, seed: int = 3) -> Path:
    """`ColPaliForRetrieval`: PaliGemma with `(size / patch)` squared patches."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(["<bos>", "<eos>"], "<pad>", bos_token="<bos>", eos_token="<eos>")
    images = SiglipImageProcessorPil(size={"height": size, "width": size})
    images.image_seq_length = (size // patch) ** 2
    processor = ColPaliProcessor(images, tokenizer)
    vision = {**SIGLIP, "model_type": "siglip_vision_model", "image_size": size, "patch_size": patch}
    text = {**TEXT, "model_type": "gemma", "head_dim": 8, "vocab_size": len(processor.tokenizer)}
    config = ColPaliConfig(
        vlm_config={
            "model_type": "paligemma", "projection_dim": 32, "hidden_size": 32, "text_config": text,
            "vision_config": {**vision, "projection_dim": 32}, "image_token_index": processor.image_token_id,
        },
        embedding_dim=DIM,
    )  # fmt: skip
    return _save(folder, ColPaliForRetrieval(config), processor)


def qwen_images() -> Qwen2VLImageProcessorPil:
    """At most 24 vectors a page, at least 4."""
    return Qwen2VLImageProcessorPil(size={"shortest_edge": 4 * 28 * 28, "longest_edge": 24 * 28 * 28})


def qwen_config(kind: type, tokenizer: PreTrainedTokenizerFast) -> dict:
    """A tiny Qwen-VL of class `kind`, with the ids of the tokenizer."""
    ids = dict(zip(QWEN_MARKERS, tokenizer.convert_tokens_to_ids(QWEN_MARKERS), strict=True))
    text = {**TEXT, "vocab_size": len(tokenizer), "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}
    vision = {"depth": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3}
    if kind is Qwen2VLConfig:
        vision |= {"embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 32, "num_heads": 2, "intermediate_size": 48}
        vision |= {"window_size": 56, "fullatt_block_indexes": [1]}
    return {
        "text_config": text, "vision_config": vision, "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip


def colqwen2(folder: Path, *, seed: int = 3) -> Path:
    """`ColQwen2ForRetrieval` on Qwen2-VL."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(QWEN_MARKERS, "<|endoftext|>", side="left")
    vlm = {**qwen_config(Qwen2VLConfig, tokenizer), "model_type": "qwen2_vl"}
    model = ColQwen2ForRetrieval(ColQwen2Config(vlm_config=vlm, embedding_dim=DIM))
    return _save(folder, model, ColQwen2Processor(qwen_images(), tokenizer))


def tile_images(tile: int = 28, longest: int = 84) -> Idefics3ImageProcessorPil:
    """Pages as up to 3 x 3 tiles of 28 pixels, and one of the whole page."""
    return Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile})


def colmodernvbert(folder: Path, *, seed: int = 3) -> Path:
    """`ColModernVBertForRetrieval`: tiles of 4 x 4 patches, 2 x 2 vectors each."""
    torch.manual_seed(seed)
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "unk_token": "[UNK]"}
    tokenizer = tokenizer_of([*TILE_MARKERS, *names.values()], "[PAD]", **names)
    processor = ColModernVBertProcessor(tile_images(), tokenizer, image_seq_len=4)
    vision = {**SIGLIP, "model_type": "siglip_vision_model", "image_size": 28, "patch_size": 7}
    text = {
        key: value for key, value in TEXT.items() if key != "num_key_value_heads"
    } | {"model_type": "modernbert", "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    vlm = ModernVBertConfig(
        text_config=text, vision_config=vision, pixel_shuffle_factor=2, image_token_id=processor.image_token_id
    )
    model = ColModernVBertForRetrieval(ColModernVBertConfig(vlm_config=vlm, embedding_dim=DIM))
    return _save(folder, model, processor)


class Projected:
    """What `ColQwen2` and `ColQwen2_5` of colpali-engine add: a projection, unit vectors, zeros at padding."""

    def __init__(self, config: Qwen2VLConfig | Qwen2_5_VLConfig) -> None:
        super().__init__(config)
        self.custom_text_proj = torch.nn.Linear(config.text_config.hidden_size, DIM)
        self.post_init()

    def embed(self, attention_mask: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.forward(attention_mask=attention_mask, **inputs).last_hidden_state
        made = torch.nn.functional.normalize(self.custom_text_proj(hidden), dim=-1)
        return made * attention_mask.unsqueeze(-1)


class ColQwen2(Projected, Qwen2VLModel):
    """As colpali-engine defines it."""


class ColQwen2_5(Projected, Qwen2_5_VLModel):  # noqa: N801  # the name that its checkpoints carry
    """As colpali-engine defines it."""


class ColIdefics3(Idefics3PreTrainedModel):
    """As colpali-engine defines it."""

    def __init__(self, config: Idefics3Config) -> None:
        super().__init__(config)
        self.model = Idefics3Model(config)
        self.linear = torch.nn.Linear(config.text_config.hidden_size, DIM)
        self.post_init()

    def embed(self, attention_mask: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.model(attention_mask=attention_mask, **inputs).last_hidden_state
        return torch.nn.functional.normalize(self.linear(hidden), dim=-1) * attention_mask.unsqueeze(-1)


def colqwen2_5(folder: Path, *, seed: int = 3) -> Path:
    """A merged `ColQwen2_5` of colpali-engine."""
    return _projected_qwen(folder, ColQwen2_5, Qwen2_5_VLConfig, seed)


def colqwen2_merged(folder: Path, *, seed: int = 3) -> Path:
    """A merged `ColQwen2` of colpali-engine."""
    return _projected_qwen(folder, ColQwen2, Qwen2VLConfig, seed)


def _projected_qwen(folder: Path, kind: type, config: type, seed: int) -> Path:
    torch.manual_seed(seed)
    tokenizer = tokenizer_of(QWEN_MARKERS, "<|endoftext|>")
    _save(folder, kind(config(**qwen_config(config, tokenizer))), tokenizer)
    qwen_images().save_pretrained(folder)
    return _rename(folder, kind.__name__)


def colidefics3(folder: Path, *, seed: int = 3) -> Path:
    """A merged `ColIdefics3` (ColSmol) of colpali-engine."""
    torch.manual_seed(seed)
    processor = tile_processor()
    return _rename(_save(folder, ColIdefics3(tile_config(processor)), processor), "ColIdefics3")


def tile_processor(template: str | None = None) -> Idefics3Processor:
    """The processor of a tiny Idefics3."""
    tokenizer = tokenizer_of(TILE_MARKERS, "<pad>", side="left")
    return Idefics3Processor(tile_images(), tokenizer, image_seq_len=4, chat_template=template)


def tile_config(processor: Idefics3Processor) -> Idefics3Config:
    """A tiny Idefics3, with the ids of the processor's tokenizer."""
    pad = processor.tokenizer.pad_token_id
    return Idefics3Config(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(processor.tokenizer), "pad_token_id": pad},
        vision_config={**SIGLIP, "image_size": 28, "patch_size": 7},
        scale_factor=2, image_token_id=processor.image_token_id, pad_token_id=pad,
    )  # fmt: skip


def _save(folder: Path, model: torch.nn.Module, processor: object) -> Path:
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)  # so that what a token sees moves its vector
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _rename(folder: Path, architecture: str) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": [architecture]}))
    return folder


def pipeline(folder: Path, *extra: torch.nn.Module, keep_pages_only: bool = False, seed: int = 3) -> Path:
    """A `MultiVectorEncoder` saved by sentence-transformers: Idefics3 with a chat template, and a projection."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    torch.manual_seed(seed)
    processor = tile_processor(CHAT)
    backbone = folder.with_name(folder.name + "-backbone")
    _save(backbone, Idefics3Model(tile_config(processor)), processor)
    dense = Dense(32, DIM, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings")
    mask = MultiVectorMask(keep_only_token_ids=[processor.image_token_id] if keep_pages_only else None)
    model = MultiVectorEncoder(
        modules=[Transformer(str(backbone)), dense, mask, Normalize(module_input_name="token_embeddings"), *extra],
        prompts={"query": "find: "},
        device="cpu",
    )
    model.save(str(folder), create_model_card=False)
    return folder
