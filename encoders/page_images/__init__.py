"""Encoders that read page images: the ColPali family, by `transformers` and `sentence-transformers` (extra `models`).

`load_encoder` gives a `PageImagesEncoder` for a checkpoint with a vision tower. How each kind is read; all of it was
verified on tiny checkpoints with random weights, built, saved and loaded by `tests/encoders/page_images`:

- ColPali, `ColPaliForRetrieval` (PaliGemma), by transformers: each page squashed onto one square grid.
- ColQwen2, `ColQwen2ForRetrieval` (Qwen2-VL), by transformers: a grid of the page's shape, 2 by 2 patches a vector.
- ColModernVBERT, `ColModernVBertForRetrieval`, by transformers: tiles, then the whole page, with pixel shuffle.
- ColQwen2 and ColQwen2.5 as colpali-engine merges them (`ColQwen2`, `ColQwen2_5`): the backbone of transformers and the
  projection that the checkpoint holds.
- ColSmol as colpali-engine merges it (`ColIdefics3`): likewise, on Idefics3.
- A `MultiVectorEncoder` that sentence-transformers saved and whose first module reads images: its own modules, masks
  and chat template. Tried with Idefics3 and a chat template, and with each of the three `ForRetrieval` classes.

Vectors and scores were compared with those of the model's own classes; boxes with what reaches the language model when
the pixels of one region change (the vision tower emptied of its layers, so that nothing mixes patches); saliency with
the attentions that the language model returns.

Not verified: real weights, any GPU, Qwen3-VL, Gemma 3 and other backbones that sentence-transformers may load. Not
read: LoRA adapters (merge them first), `ColPali` and `ColModernVBert` of colpali-engine (there are checkpoints in the
format of transformers), pipelines that pool pages. Only a pipeline whose processor also reads videos (Qwen-VL, SmolVLM)
needs torchvision; without it images go through Pillow.
"""
