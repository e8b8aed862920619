"""The head of an encoder as the last nodes of its graph, in place of those that rotate, cut and normalise the states.

Inside the graph its product is one with a matrix that onnxruntime has packed, and the rotation of the hidden states is
folded into that matrix. Numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .embeddings import FloatArray, IntArray
from .errors import EncoderError
from .head import Head
from .wire import Field, field, fields, header, message

_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NAME_OF_TENSOR, _NAME_OF_VALUE = 8, 1
_FLOAT, _INT64 = 1, 7
_INT_ATTRIBUTE = 2
_BLOCK = 16
"""Places of a text in the mean are padded to a multiple, so that its sum has one order whatever stands beside it."""

INPUTS = {"cells": "tensor(int64)", "shares": "tensor(float)", "owners": "tensor(int64)"}
"""What a graph with a head takes instead of `dims`; see `feeds`."""


@dataclass(frozen=True)
class _Ending:
    """The last nodes of a graph of `export_graph`: states, an optional product with `rotation`, a cut, the lengths."""

    states: str
    rotation: FloatArray | None
    replaced: frozenset[str]


def with_head(graph: bytes, head: Head, dim: int) -> bytes:
    """An ONNX graph that gives the first `dim` dimensions of `head` as `vectors`, out of one that gives its own there.

    Raises `EncoderError` where the graph is none that `export_graph` built, or rotates states of another width; other
    states of a width that the head does not read are refused by onnxruntime.
    """
    view = memoryview(graph)
    try:
        top = list(fields(view))
        (body,) = (item.content for item in top if item.number == _GRAPH)
        parts = list(fields(body))
        ending = _ending(parts, fold=head.mix.ndim == 0)  # else the mix is one of the rotated dimensions
        kept = [item.raw for item in parts if not _replaced(item, ending)]
        added = _nodes(head, dim, ending)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EncoderError(f"the graph is none of latefold, no head can follow it: {error!r}") from error
    size = sum(map(len, kept)) + len(added)
    others = [item.raw for item in top if item.number != _GRAPH]
    return b"".join([*others, header(_GRAPH, size), *kept, added])


def feeds(lengths: IntArray, offsets: IntArray) -> dict[str, npt.NDArray[np.generic]]:
    """What the head reads beside the states.

    lengths: `(texts,)` int64, of all texts together one token at least. offsets: `(texts + 1,)` int64.

    `owners`: `(tokens,)` int64, the text of each token. `cells`: `(texts, longest)` int64, its tokens and others
    behind them. `shares`: `(texts, 1, longest)` float32, what each cell counts in the mean of its text.
    """
    return _feeds_of_one(int(lengths[0])) if len(lengths) == 1 else _feeds(lengths, offsets)


@lru_cache(maxsize=256)
def _feeds_of_one(length: int) -> dict[str, npt.NDArray[np.generic]]:
    """The same for one text, kept: a graph has just emptied the caches, and numpy would take longer than the head."""
    made = _feeds(np.array([length]), np.array([0, length]))
    for value in made.values():
        value.flags.writeable = False
    return made


def _feeds(lengths: IntArray, offsets: IntArray) -> dict[str, npt.NDArray[np.generic]]:
    longest = -(-int(lengths.max()) // _BLOCK) * _BLOCK
    shares = np.zeros((len(lengths), 1, longest), np.float32)
    for text, length in enumerate(lengths.tolist()):
        shares[text, 0, :length] = 1 / max(length, 1)
    cells = np.minimum(np.arange(longest) + offsets[:-1, None], offsets[-1] - 1)
    return {"owners": np.arange(len(lengths)).repeat(lengths), "cells": cells, "shares": shares}


def _ending(parts: Sequence[Field], *, fold: bool) -> _Ending:
    """What the head takes the place of; with the rotation if it can `fold` that into its matrix."""
    makers = {output: (kind, inputs) for kind, inputs, outputs in map(_node, _all(parts, _NODE)) for output in outputs}
    kind, (cut, *_) = makers["vectors"]
    if kind != "LpNormalization" or makers[cut][0] != "Slice":
        raise ValueError("its vectors are not cut and normalised last")
    states = makers[cut][1][0]
    kind, inputs = makers[states]
    if not fold or kind != "MatMul" or inputs[1] != "rotation":
        return _Ending(states, None, frozenset(("vectors", cut)))
    (matrix,) = (_tensor(item) for item in _all(parts, _INITIALIZER) if _name(item, _NAME_OF_TENSOR) == "rotation")
    return _Ending(inputs[0], matrix, frozenset(("vectors", cut, states)))


def _replaced(item: Field, ending: _Ending) -> bool:
    """Whether a part of a graph belongs to its ending."""
    if item.number == _NODE:
        return not ending.replaced.isdisjoint(_node(item)[2])
    if item.number == _INITIALIZER:
        return ending.rotation is not None and _name(item, _NAME_OF_TENSOR) == "rotation"
    return item.number in (_INPUT, _OUTPUT) and _name(item, _NAME_OF_VALUE) in ("dims", "vectors")


def _nodes(head: Head, dim: int, ending: _Ending) -> bytes:
    """`y = (h + mix * m) @ weight + bias` of the normalised states, scaled to length 1, as parts of a graph."""
    weight = head.weight[:, :dim]
    if ending.rotation is not None:
        weight = ending.rotation @ weight
    constants = {"mix": head.mix, "weight": weight, "bias": head.bias[:dim]}
    steps = [
        _made_node("LpNormalization", [ending.states], "head.units", axis=-1, p=2),
        _made_node("Gather", ["head.units", "cells"], "head.texts", axis=0),
        _made_node("MatMul", ["shares", "head.texts"], "head.row"),
        _made_node("Squeeze", ["head.row", "head.axis"], "head.mean"),
        _made_node("Mul", ["head.mean", "head.mix"], "head.mixed"),
        _made_node("Gather", ["head.mixed", "owners"], "head.spread", axis=0),
        _made_node("Add", ["head.units", "head.spread"], "head.rows"),
        _made_node("Gemm", ["head.rows", "head.weight", "head.bias"], "head.projected"),
        _made_node("LpNormalization", ["head.projected"], "vectors", axis=-1, p=2),
    ]
    arrays = [_made_tensor(f"head.{name}", _FLOAT, value.astype("<f4")) for name, value in constants.items()]
    arrays.append(_made_tensor("head.axis", _INT64, np.array([1], "<i8")))
    inputs = [
        _made_value("cells", _INT64, 2), _made_value("shares", _FLOAT, 3), _made_value("owners", _INT64, 1)
    ]  # fmt: skip
    made = [(_NODE, steps), (_INITIALIZER, arrays), (_INPUT, inputs), (_OUTPUT, [_made_value("vectors", _FLOAT, 2)])]
    return b"".join(field(number, item) for number, items in made for item in items)


def _all(parts: Sequence[Field], number: int) -> Iterator[Field]:
    return (item for item in parts if item.number == number)


def _name(item: Field, number: int) -> str:
    return next((part.text for part in fields(item.content) if part.number == number), "")


def _node(item: Field) -> tuple[str, list[str], list[str]]:
    """Kind, inputs and outputs."""
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    for part in fields(item.content):
        if part.number in texts:
            texts[part.number].append(part.text)
    return texts[4][0], texts[1], texts[2]


def _tensor(item: Field) -> FloatArray:
    parts = list(fields(item.content))
    shape = [part.value for part in parts if part.number == 1]
    (content,) = (part.content for part in parts if part.number == 9)
    return np.frombuffer(content, "<f4").reshape([size for size in shape if isinstance(size, int)])


def _made_node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    settings = [message((1, name), (3, value), (20, _INT_ATTRIBUTE)) for name, value in attributes.items()]
    names = [(1, name) for name in inputs]
    return message(*names, (2, output), (4, kind), *((5, setting) for setting in settings))


def _made_tensor(name: str, kind: int, value: npt.NDArray[np.generic]) -> bytes:
    return message(*((1, size) for size in value.shape), (2, kind), (8, name), (9, value.tobytes()))


def _made_value(name: str, kind: int, axes: int) -> bytes:
    """An input or output with so many axes of any size."""
    shape = b"".join(field(1, message((2, f"{name}.{axis}"))) for axis in range(axes))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))
