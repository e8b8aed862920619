"""The head of an encoder: a small trained projection of the token vectors that a graph makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .embeddings import FloatArray
from .errors import EncoderError

HEAD_FILE = "head.safetensors"
MAX_BYTES = 64 << 20
_NAMES = ("mix", "weight", "bias")
_MARKER = "marker"
"""Stored only where it is not 1."""
MAX_MARKER = 100.0


@dataclass(frozen=True, eq=False)
class Head:
    """`y = (h + mix * m) @ weight + bias` of each token vector `h` and the mean `m` of its text's token vectors.

    mix: () or `(width,)` float32, how much of its text each token takes in. weight: `(width, dims)` float32.
    bias: `(dims,)` float32. Any leading dimensions of `y` may be used alone, if the head was trained for that.
    marker: how much the first vector of a query counts, which stands for all of it; that of another token counts 1.

    Raises `EncoderError` on wrong shapes and on values that are not finite float32.
    """

    mix: FloatArray
    weight: FloatArray
    bias: FloatArray
    marker: float = 1.0

    def __post_init__(self) -> None:
        for name in _NAMES:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        shapes = f"mix {self.mix.shape}, weight {self.weight.shape}, bias {self.bias.shape}"
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise EncoderError(f"the head has a weight of shape {self.weight.shape}; expected (width, dims)")
        if self.mix.shape not in ((), (self.width,)) or self.bias.shape != (self.dims,):
            raise EncoderError(f"the parts of the head do not fit together: {shapes}")
        if not 0 < self.marker <= MAX_MARKER:
            raise EncoderError(
                f"the marker of the head counts {self.marker}; expected more than 0, at most {MAX_MARKER}"
            )

    @classmethod
    def read(cls, content: bytes) -> Head:
        """The head in a safetensors file of float32 tensors: `mix`, `weight`, `bias`, and `marker` unless that is 1.

        Raises `EncoderError` on anything else, and on more than 64 MiB.
        """
        if len(content) > MAX_BYTES:
            raise EncoderError(f"{HEAD_FILE} has {len(content)} bytes; a head has at most {MAX_BYTES}")
        try:
            tensors = load(content)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(f"{HEAD_FILE} is no readable safetensors file: {error!r}") from error
        marker = tensors.pop(_MARKER, np.ones((), np.float32))
        if set(tensors) != set(_NAMES):
            found = ", ".join(sorted(tensors)) or "nothing"
            raise EncoderError(f"{HEAD_FILE} holds {found[:200]}; expected {', '.join(_NAMES)}")
        if marker.shape != ():
            raise EncoderError(f"the marker of {HEAD_FILE} has shape {marker.shape}; expected one number")
        return cls(**tensors, marker=float(_checked(_MARKER, marker)))

    def to_bytes(self) -> bytes:
        """The bytes that `read` reads; equal heads give equal bytes."""
        tensors = {name: getattr(self, name) for name in _NAMES}
        if self.marker != 1:
            tensors[_MARKER] = np.asarray(self.marker, np.float32)
        return bytes(save(tensors))

    @property
    def width(self) -> int:
        """Dimensions of the vectors that the head reads."""
        return int(self.weight.shape[0])

    @property
    def dims(self) -> int:
        """Dimensions of the vectors that the head makes."""
        return int(self.weight.shape[1])


def _checked(name: str, value: npt.ArrayLike) -> FloatArray:
    array = np.asarray(value)
    if array.dtype != np.float32 or not np.isfinite(array).all():
        raise EncoderError(f"{name} of the head has dtype {array.dtype}; expected finite float32 values")
    return np.array(array, np.float32, order="C")
