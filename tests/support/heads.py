"""A random head on the bundled backbone, in the place of a trained one, and texts for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from latefold.encoders.head import Head

TEXTS = [
    "Late interaction keeps a vector for every token; each query token takes its best match.",
    "",
    "short",
    "Boundary layers on a flat plate, in a stream with shear, grow thicker towards the trailing edge. " * 6,
]
NESTED = (32, 64, 96, 128)


def random_head(seed: int = 0) -> Head:
    """From 384 to 128 dimensions, nearly an isometry of its image."""
    rng = np.random.default_rng(seed)
    weight = np.linalg.qr(rng.standard_normal((384, 128)))[0].astype(np.float32)
    return Head(np.float32(0.4), weight, rng.normal(0, 0.01, 128).astype(np.float32))


def project(head: Head, vectors: npt.ArrayLike, offsets: npt.ArrayLike, dim: int) -> np.ndarray:
    """The formula of `Head`, text by text in float64: `(total, dim)` of length 1, or 0 where nothing is left."""
    weight, bias = head.weight[:, :dim].astype(np.float64), head.bias[:dim]
    texts = np.split(np.asarray(vectors, np.float64), np.asarray(offsets)[1:-1])
    made = [(h + head.mix * h.mean(axis=0)) @ weight + bias for h in texts if len(h)]
    flat = np.concatenate(made)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
