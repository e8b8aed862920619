"""Ward's hierarchical clustering of token vectors: the usual pooling of an encoder that was not trained for any.

Token pooling by Clavié et al. (arXiv 2409.14683), with the same clusters as `HierarchicalTokenPooling` of
sentence-transformers: Ward's linkage over the cosine distances of each pair of tokens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..embeddings import FloatArray, TokenEmbeddings
from ..errors import InvalidInputError, MissingExtraError
from .base import Pooling, require_clusterable


def ward(
    embeddings: TokenEmbeddings, size: float | Pooling, *, protected: int = 1, renormalize: bool = True
) -> TokenEmbeddings:
    """Means of Ward clusters of each text's token vectors.

    size: a factor from 1, to keep one vector for so many tokens; or a pooling, to keep as many vectors as it does.
    protected: leading tokens that stay as they are and are not counted (the marker at the start).
    renormalize: scale all vectors to length 1, the protected and the unmerged ones too.

    Raises `InvalidInputError` on a factor below 1 and on texts too long to cluster, `MissingExtraError` without scipy.
    """
    if protected < 0 or not (isinstance(size, Pooling) or size >= 1):
        raise InvalidInputError(f"factor {size} must be at least 1 and protected {protected} not negative")
    require_clusterable(embeddings)
    pooled = [np.concatenate([text[:protected], _pool_text(text[protected:], size)]) for text in embeddings]
    made = TokenEmbeddings.from_list(pooled, dim=embeddings.dim)
    if not renormalize:
        return made
    lengths = np.linalg.norm(made.vectors, axis=1, keepdims=True)
    return TokenEmbeddings(made.vectors / np.maximum(lengths, 1e-12), made.offsets)


def _pool_text(vectors: FloatArray, size: float | Pooling) -> FloatArray:
    tokens = len(vectors)
    clusters = size.kept(tokens) if isinstance(size, Pooling) else max(int(tokens // size), 1)
    if clusters >= tokens:
        return vectors
    labels = _labels(vectors, clusters)
    member = labels == np.unique(labels)[:, None]
    means: FloatArray = (member @ vectors / member.sum(axis=1, keepdims=True)).astype(np.float32)
    return means


def _labels(vectors: FloatArray, clusters: int) -> npt.NDArray[np.int32]:
    try:
        from scipy.cluster.hierarchy import fcluster, linkage
    except ImportError:
        raise MissingExtraError("Ward pooling", "bench") from None
    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    pairs = distances[np.triu_indices(len(vectors), 1)]
    labels: npt.NDArray[np.int32] = fcluster(linkage(pairs, method="ward"), t=clusters, criterion="maxclust")
    return labels
