"""What every ONNX model folder is run with: its checked files opened, and batches on threads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from .embeddings import IntArray
from .errors import EncoderError
from .model_folder import GRAPH_FILE, TOKENIZER_FILE, ModelFolder

if TYPE_CHECKING:
    import onnxruntime
    import tokenizers

CHARACTERS_PER_TOKEN = 128
"""Text beyond `max_tokens` times this is not even tokenized: bounds the work on a huge text, which is cut anyway."""
_Result = TypeVar("_Result")
_SURROGATES = re.compile("[\ud800-\udfff]")


def without_surrogates(text: str) -> str:
    """`text` with lone surrogates, which no tokenizer takes, replaced one by one."""
    return _SURROGATES.sub("\ufffd", text)


def open_tokenizer(folder: ModelFolder) -> tokenizers.Tokenizer:
    """The tokenizer of a folder, cutting at its `max_tokens`. Raises `EncoderError` when it cannot be read."""
    import tokenizers

    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(folder.bytes_of(TOKENIZER_FILE))
    except ValueError as error:
        raise EncoderError(f"cannot read {TOKENIZER_FILE} of {folder.path}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.max_tokens)
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is text, not a marker
    return tokenizer


def open_session(folder: ModelFolder) -> onnxruntime.InferenceSession:
    """The graph of a folder on the CPU, one thread a run. Raises `EncoderError` when it cannot be read."""
    return session_of(folder.bytes_of(GRAPH_FILE), folder)


def session_of(content: bytes, folder: ModelFolder) -> onnxruntime.InferenceSession:
    """A graph made of that of a folder, as `open_session` opens it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised, not printed as well
    options.enable_mem_pattern = False  # one memory plan per shape seen would grow without bound
    # weights outside the checked bytes are refused, wherever a graph says they are
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except graph_errors() as error:
        raise EncoderError(f"cannot read {GRAPH_FILE} of {folder.path}: {error}") from error


def graph_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises; its classes have no base in common but `Exception`."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile",
        "NotImplemented", "RuntimeException",
    )  # fmt: skip
    found: list[Any] = [getattr(state, name) for name in names]
    return tuple(found)


def map_in_threads(work: Callable[[IntArray], _Result], items: Sequence[IntArray], threads: int) -> Iterator[_Result]:
    """Results of `work` in the order of `items`, on at most `threads` threads.

    Whole batches in parallel scale better than threads inside the layers of one batch, and leave none spinning.
    """
    threads = min(threads, len(items))
    if threads <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="latefold-encode")
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def cores() -> int:
    """CPU cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
