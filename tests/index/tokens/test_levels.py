from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from latefold.encoders.embeddings import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError
from latefold.index.tokens.lvq4 import Lvq4Codec
from latefold.index.tokens.lvq8 import Lvq8Codec

DIM = 12
each_kind = pytest.mark.parametrize("kind", [Lvq8Codec, Lvq4Codec])


def tokens(rng, *lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenEmbeddings(rng.standard_normal((offsets[-1], DIM)).astype(np.float32), offsets)


@each_kind
def test_what_a_codec_remembers_of_queries_never_answers_for_others(kind):
    rng = np.random.default_rng(0)
    documents = tokens(rng, 5, 0, 9)
    asked = [tokens(rng, 3), tokens(rng, 3), tokens(rng, 2, 0, 4), tokens(rng)]
    codec = kind(DIM)
    codes = codec.encode(documents.vectors)

    def answers(codec, queries):
        return [codec.score(queries, codes, documents.offsets), *codec.estimate(queries, codes, documents.offsets)]

    alone = [answers(kind(DIM), queries) for queries in asked]
    turns = rng.integers(0, len(asked), 200)
    with ThreadPoolExecutor(4) as pool:
        for turn, found in zip(turns, pool.map(lambda turn: answers(codec, asked[turn]), turns), strict=True):
            for a, b in zip(found, alone[turn], strict=True):
                np.testing.assert_array_equal(a, b)


@each_kind
def test_queries_of_another_dimension_are_refused_at_every_call(kind):
    rng = np.random.default_rng(0)
    codec = kind(DIM)
    codes = codec.encode(tokens(rng, 3).vectors)
    wrong = TokenEmbeddings(np.ones((2, DIM + 1), np.float32), np.array([0, 2]))
    for run in (codec.score, codec.estimate, codec.score):
        with pytest.raises(InvalidEmbeddingsError, match="expected"):
            run(wrong, codes, np.array([0, 3]))
