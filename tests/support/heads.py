"""A random head on the bundled backbone, in the place of a trained one, and texts for it."""

from __future__ import annotations

import numpy as np

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
