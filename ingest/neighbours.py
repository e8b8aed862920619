"""Hard negatives for training, mined with an index of our own, and how well our encodings fold a set of vectors."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ..encoders.base import Progress
from ..encoders.embeddings import IntArray, TokenEmbeddings
from ..encoders.training.mining import Corpus
from ..index.encodings.fde import FDE, FDEConfig
from ..index.tokens.base import codec
from ..retrieval.config import MAX_QUERY_CHARACTERS
from ..retrieval.index import Index

PASSAGES_PER_BATCH = 4096
QUERIES_PER_BATCH = 256
CANDIDATES = 50
TOP = 10


def index_neighbours(corpus: Corpus, count: int, progress: Progress | None = None) -> IntArray:
    """`(n, count)` int64 passages that hybrid search finds for each query, best first, -1 where it finds fewer.

    The index lies in a temporary folder and is gone afterwards; vectors come from the corpus, nothing is encoded.
    """
    dim = corpus.passage_vectors(np.arange(min(1, len(corpus.passages)))).dim
    found = np.full((len(corpus.queries), count), -1, np.int64)
    temporary = tempfile.TemporaryDirectory(prefix="latefold-mine-")
    with temporary as folder, Index.create(Path(folder) / "passages", dim=dim) as index:
        for start in range(0, len(corpus.passages), PASSAGES_PER_BATCH):
            rows = np.arange(start, min(start + PASSAGES_PER_BATCH, len(corpus.passages)))
            documents = [{"id": str(i), "text": corpus.passages[i]} for i in rows.tolist()]
            index.add(documents, embeddings=corpus.passage_vectors(rows))
            if progress is not None:
                progress("index passages", int(rows[-1]) + 1, len(corpus.passages))
        for start in range(0, len(corpus.queries), QUERIES_PER_BATCH):
            rows = np.arange(start, min(start + QUERIES_PER_BATCH, len(corpus.queries)))
            texts = [corpus.queries[i][:MAX_QUERY_CHARACTERS] for i in rows.tolist()]
            results = index.search(texts, count, embeddings=corpus.query_vectors(rows), mode="hybrid")
            for row, hits in zip(rows, results, strict=True):
                found[row, : len(hits)] = [int(hit.id) for hit in hits]
            if progress is not None:
                progress("mine", int(rows[-1]) + 1, len(corpus.queries))
    return found


def folded_recall(queries: TokenEmbeddings, documents: TokenEmbeddings) -> float:
    """Share of the exact MaxSim top 10 among the 50 documents whose MUVERA encodings of 2560 dimensions are nearest."""
    exact_codec = codec("fp16").fit(documents.vectors)
    exact = exact_codec.score(queries, exact_codec.encode(documents.vectors), documents.offsets)
    fde = FDE(FDEConfig(repetitions=20, simhash_bits=3, projected_dim=16), documents.dim)
    near = fde.encode_queries(queries) @ fde.encode_documents(documents).T
    top = np.argsort(-exact, axis=1, kind="stable")[:, :TOP]
    candidates = np.argsort(-near, axis=1, kind="stable")[:, :CANDIDATES]
    return float(np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(top, candidates, strict=True)]))
