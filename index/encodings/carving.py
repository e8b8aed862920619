"""Ball carving of query tokens, as MUVERA does before it reranks (Dhulipala et al., arXiv 2405.19504)."""

from __future__ import annotations

import math

from ...encoders.embeddings import TokenEmbeddings
from ...encoders.errors import InvalidInputError


def carve(tokens: TokenEmbeddings, threshold: float) -> TokenEmbeddings:
    """Fewer vectors for each query: near ones replaced by their sum.

    Greedy: the first token that is left takes all that are left and whose inner product with it reaches `threshold`.
    The groups come in the order of their first tokens. For any document, the MaxSim of the carved query is at most that
    of the whole one, and equal where every group agrees on its best token. A threshold above the largest inner product
    (above 1 for unit vectors) changes nothing. The paper's .7 took padded ColBERTv2 queries from 32 to 5.9 vectors;
    queries without such padding have little to carve.

    Raises `InvalidInputError` on a threshold that is not finite.
    """
    from ..kernels.carving import carve as carved  # numba, which configurations must not load

    if not math.isfinite(threshold):
        raise InvalidInputError(f"the threshold of ball carving must be a finite number; got {threshold!r}")
    return carved(tokens, threshold)
