"""Texts and pages as the token sequences that a vision-language retriever was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import EncoderError

MAX_TEXT_TOKENS = 2048
"""Longest text in tokens, markers included; more is cut."""
AUGMENTATION_TOKENS = 10
"""How often a query's last marker is repeated, in every model of the family."""


@dataclass(frozen=True)
class Rendered:
    """A batch ready for the model.

    features: tensors for the model. offsets: `(batch, length, 2)` characters of the rendered text that each token
    covers, None for pages and where the tokenizer does not know. starts: characters before each text.
    """

    features: dict[str, Any]
    offsets: Any = None
    starts: Sequence[int] = ()


class Rendering(Protocol):
    """How one checkpoint wants its inputs."""

    @property
    def prompts(self) -> Mapping[str, str]:
        """What is put around queries, passages and pages."""
        ...

    def queries(self, texts: Sequence[str]) -> Rendered:
        """A batch of queries."""
        ...

    def passages(self, texts: Sequence[str]) -> Rendered:
        """A batch of texts that queries are to find."""
        ...

    def pages(self, images: Sequence[Any]) -> Rendered:
        """A batch of Pillow images."""
        ...


@dataclass(frozen=True)
class Template:
    """What stands before and after a text."""

    before: str = ""
    after: str = ""


class ProcessorRendering:
    """By the processors of ColPali, ColQwen2, ColModernVBERT and Idefics3, whose prompts are fixed.

    Queries get the model's prefix and augmentation tokens. Passages are the text alone, as colpali-engine renders them:
    augmentation tokens on both sides would match each other whatever the texts say.
    """

    def __init__(self, processor: Any, query: Template, passage: Template, image_prompt: str | None = None) -> None:
        """image_prompt: text with the image token, for a processor that has no prompt of its own."""
        self._processor = processor
        self._query, self._passage, self._image_prompt = query, passage, image_prompt

    @classmethod
    def of(cls, processor: Any) -> ProcessorRendering:
        """The rendering of a processor of transformers, the same as its `process_queries` and `process_images`.

        Raises `EncoderError` for a processor of an unknown kind.
        """
        kind = type(processor).__name__
        if not hasattr(processor, "process_images") or not hasattr(processor, "query_augmentation_token"):
            raise EncoderError(f"{kind} is no processor of page images that latefold knows")
        after = processor.query_augmentation_token * AUGMENTATION_TOKENS
        start = processor.tokenizer.bos_token if kind == "ColPaliProcessor" else ""
        end = "" if kind == "ColModernVBertProcessor" else "\n"
        return cls(processor, Template(start + processor.query_prefix, after + end), Template(start))

    @property
    def prompts(self) -> Mapping[str, str]:
        """As `Rendering.prompts`."""
        image = self._image_prompt or str(getattr(self._processor, "visual_prompt_prefix", ""))
        return {
            "query": "{}".join([self._query.before, self._query.after]),
            "document": "{}".join([self._passage.before, self._passage.after]),
            "image": image,
        }

    def queries(self, texts: Sequence[str]) -> Rendered:
        """As `Rendering.queries`."""
        return self._texts(texts, self._query)

    def passages(self, texts: Sequence[str]) -> Rendered:
        """As `Rendering.passages`."""
        return self._texts(texts, self._passage)

    def pages(self, images: Sequence[Any]) -> Rendered:
        """As `Rendering.pages`."""
        if self._image_prompt is None:
            features = dict(self._processor.process_images(images=list(images)))
        else:
            prompts = [self._image_prompt] * len(images)
            called = self._processor(
                text=prompts, images=[[image] for image in images], padding="longest", return_tensors="pt"
            )
            features = dict(called)
        features.pop("labels", None)
        return Rendered(features)

    def _texts(self, texts: Sequence[str], template: Template) -> Rendered:
        tokenizer = self._processor.tokenizer
        fast = bool(tokenizer.is_fast)
        features = dict(
            tokenizer(
                [template.before + text + template.after for text in texts],
                padding="longest",
                truncation=True,
                max_length=MAX_TEXT_TOKENS,
                return_tensors="pt",
                return_offsets_mapping=fast,
                return_token_type_ids=type(self._processor).__name__ == "ColPaliProcessor",
            )
        )
        return Rendered(features, features.pop("offset_mapping", None), [len(template.before)] * len(texts))


class TemplateRendering:
    """By a `MultiVectorEncoder`: its chat template or processor, and its prompts."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @property
    def prompts(self) -> Mapping[str, str]:
        """As `Rendering.prompts`, with the chat template."""
        template = getattr(self._model[0].processor, "chat_template", None)
        saved = {key: text for key, text in sorted(self._model.prompts.items()) if text}
        return saved | ({"chat_template": str(template)} if template else {})

    def queries(self, texts: Sequence[str]) -> Rendered:
        """As `Rendering.queries`."""
        return self._texts(texts, "query")

    def passages(self, texts: Sequence[str]) -> Rendered:
        """As `Rendering.passages`."""
        return self._texts(texts, "document")

    def pages(self, images: Sequence[Any]) -> Rendered:
        """As `Rendering.pages`."""
        return Rendered(dict(self._model.preprocess(list(images), prompt=self._prompt("document"), task="document")))

    def _texts(self, texts: Sequence[str], task: str) -> Rendered:
        prompt = self._prompt(task)
        features = dict(
            self._model.preprocess(
                [{"text": text} for text in texts],  # a bare string that names a picture would be fetched and shown
                prompt=prompt,
                task=task,
                processing_kwargs={"text": {"return_offsets_mapping": bool(self._model.tokenizer.is_fast)}},
            )
        )
        offsets = features.pop("offset_mapping", None)
        return Rendered(features, offsets, [self._start(text, prompt, task) for text in texts])

    def _start(self, text: str, prompt: str | None, task: str) -> int:
        """Characters before `text` in what the tokenizer read; its own length, so that no token counts, if unknown."""
        transformer = self._model[0]
        if "message" not in transformer.modality_config:
            return len(prompt or "")
        formatter = transformer.input_formatter
        _, inputs = formatter.batch_to_message("text", {"text": [text]})
        messages = inputs["message"]
        if prompt:
            messages = formatter.prepend_prompt_to_messages(messages, prompt)
        extra = {"task": task} if "task" in str(transformer.processor.chat_template) else {}
        rendered = transformer.processor.apply_chat_template(messages, tokenize=False, **extra)[0]
        found = rendered.find(text.strip()) if text.strip() else -1
        return len(rendered) if found < 0 else found - (len(text) - len(text.lstrip()))

    def _prompt(self, task: str) -> str | None:
        text = self._model.prompts.get(task)
        return str(text) if text else None
