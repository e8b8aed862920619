"""Principal axes of token vectors: the rotation of an exported graph, and where the training of a head starts."""

from __future__ import annotations

from typing import Any

import numpy as np

from .embeddings import FloatArray


def principal_axes(moment: np.ndarray[Any, Any]) -> FloatArray:
    """Eigenvectors `(dim, dim)` float32 of a second moment, by falling eigenvalue, largest entry positive."""
    _, axes = np.linalg.eigh(moment)
    axes = axes[:, ::-1]
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.ascontiguousarray(axes * np.sign(largest), dtype=np.float32)
