"""Item factors: rows that later documents are given, alone as in company, and the form in which they are stored."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from latefold import TokenEmbeddings
from latefold.encoders.errors import InvalidEmbeddingsError, InvalidInputError
from latefold.index.encodings.fde import FDE, FDEConfig
from latefold.index.encodings.learned import Learned, LearnedConfig
from latefold.index.factors import ItemFactors
from latefold.index.leanvec import sphering
from latefold.index.lvq import LVQ
from latefold.index.moments import Moments
from latefold.index.single import SingleVectors
from latefold.index.tokens.base import codec

DIM, COLUMNS = 16, 9
KINDS = ["fde", "learned reduced", "unmapped"]


def single_of(kind, make_embeddings):
    if kind == "fde":
        fde = FDE(FDEConfig(repetitions=3, simhash_bits=2, projected_dim=8), DIM)
        return SingleVectors(fde, None, LVQ(np.zeros(fde.output_dim, np.float32)))
    documents, queries = make_embeddings(120), make_embeddings(60)
    learned = Learned.fit(LearnedConfig(width=64, learn_tokens=256), documents, queries)
    moments = Moments(learned.output_dim), Moments(learned.output_dim)
    moments[0].add(learned.encode_queries(queries))
    moments[1].add(learned.encode_documents(documents))
    reduction = sphering(moments[0].matrix, moments[1].matrix, 32).rotated(3)
    return SingleVectors(learned, reduction, LVQ(np.zeros(32, np.float32), bits=4))


@pytest.fixture(params=KINDS)
def made(request, make_embeddings, rng):
    single = single_of(request.param, make_embeddings)
    facts = {"scorer": "table", "calls": 7, "nested": {"rank": [1, 2]}}
    if request.param == "unmapped":
        return ItemFactors(single, None, None, LVQ(np.full(32, 0.1, np.float32), 4), 0.0, np.empty(0, np.int64), facts)
    projection = rng.standard_normal((single.lvq.dim, COLUMNS)).astype(np.float32)
    offset = rng.standard_normal(COLUMNS).astype(np.float32)
    return ItemFactors(single, projection, offset, LVQ(offset), 0.25, np.array([5, 2, 9]), facts)


def stored(tokens):
    lvq8 = codec("lvq8").fit(tokens.vectors)
    return lvq8, lvq8.encode(tokens.vectors)


def test_a_row_is_the_mapped_single_vector(made, make_embeddings):
    tokens = make_embeddings(50)
    lvq8, codes = stored(tokens)
    rows = made.encode_stored(lvq8, codes, tokens.offsets)
    assert rows.dtype == np.uint8
    assert rows.shape == (50, made.width)
    folded = made.single.fold_stored(lvq8, codes, tokens.offsets).astype(np.float64)
    wanted = folded if made.projection is None else folded @ made.projection + made.offset
    atol = float(made.lvq.error_bound(rows).max()) + 1e-3
    np.testing.assert_allclose(made.lvq.decode(rows), wanted, atol=atol)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_row_does_not_depend_on_its_company(kind, make_embeddings, rng):
    single = single_of(kind, make_embeddings)
    projection = rng.standard_normal((single.lvq.dim, COLUMNS))
    made = ItemFactors(single, projection, np.zeros(COLUMNS), LVQ(np.zeros(COLUMNS, np.float32)), 0.0, np.arange(0))
    tokens = make_embeddings(40, low=0)
    lvq8, codes = stored(tokens)
    folded, whole = (fold(lvq8, codes, tokens.offsets) for fold in (made.fold_stored, made.encode_stored))

    @settings(max_examples=25)
    @given(st.lists(st.integers(0, 40), max_size=4))
    def check(cuts):
        for fold, wanted in ((made.fold_stored, folded), (made.encode_stored, whole)):
            bounds = pairwise([0, *sorted(cuts), 40])
            parts = [fold(lvq8, codes, tokens.offsets[start : stop + 1]) for start, stop in bounds]
            np.testing.assert_array_equal(np.concatenate(parts), wanted)

    check()


def test_stored_parameters_give_equal_bytes(made, make_embeddings):
    spec = json.loads(json.dumps(made.spec(), allow_nan=False))
    again = ItemFactors.from_params(spec, DIM, load(save(dict(made.params()))))
    assert again.spec() == made.spec() == spec
    assert (again.width, again.dim, again.unit, again.facts) == (made.width, made.dim, made.unit, made.facts)
    assert again.anchors.dtype == np.int64
    np.testing.assert_array_equal(again.anchors, made.anchors)
    tokens = make_embeddings(30)
    np.testing.assert_array_equal(
        again.encode_stored(*stored(tokens), tokens.offsets), made.encode_stored(*stored(tokens), tokens.offsets)
    )


def test_width_and_dim(made):
    assert made.width == made.lvq.width
    assert made.dim == (COLUMNS - 1 if made.unit else 32)
    assert type(made.dim) is int
    assert replace(made, unit=np.float32(0.5)).spec()["unit"] == 0.5


def test_no_documents_and_documents_without_tokens(made):
    nothing = TokenEmbeddings(np.empty((0, DIM), np.float32), np.zeros(1, np.int64))
    assert made.encode_stored(*stored(nothing), nothing.offsets).shape == (0, made.width)
    empty = TokenEmbeddings(np.empty((0, DIM), np.float32), np.zeros(4, np.int64))
    rows = made.encode_stored(*stored(empty), empty.offsets)
    assert len(rows) == 3
    assert (rows == rows[0]).all()


def test_tokens_of_another_dimension_and_values_too_large_for_codes_are_refused(make_embeddings):
    single = single_of("fde", make_embeddings)
    lvq = LVQ(np.zeros(COLUMNS, np.float32))
    projection = np.full((single.lvq.dim, COLUMNS), 1e6, np.float32)
    made = ItemFactors(single, projection, np.zeros(COLUMNS), lvq, 0.0, np.arange(0))
    for tokens in (make_embeddings(3, dim=DIM + 1), make_embeddings(3)):
        with pytest.raises(InvalidEmbeddingsError):
            made.encode_stored(*stored(tokens), tokens.offsets)


WRONG = {
    "half a map": {"offset": None},
    "the other half": {"projection": None},
    "a map of other vectors": {"projection": np.zeros((3, COLUMNS), np.float32)},
    "a map to other columns": {"offset": np.zeros(COLUMNS + 1, np.float32)},
    "a flat map": {"projection": np.zeros(COLUMNS, np.float32)},
    "a number for a map": {"projection": np.array(1, np.float32), "offset": np.array(1, np.float32)},
    "a map of integers": {"offset": np.zeros(COLUMNS, np.int64)},
    "a map that is not finite": {"offset": np.full(COLUMNS, np.nan, np.float32)},
    "a map beyond float32": {"offset": np.full(COLUMNS, 1e300)},
    "codes of other columns": {"lvq": LVQ(np.zeros(COLUMNS + 1, np.float32))},
    "a negative unit": {"unit": -1.0},
    "no unit": {"unit": float("nan")},
    "an infinite unit": {"unit": float("inf")},
    "negative anchors": {"anchors": np.array([3, -1])},
    "facts that are no JSON": {"facts": {"calls": np.float32(1)}},
    "facts that are not finite": {"facts": {"loss": float("nan")}},
    "anchors that are no rows": {"anchors": np.array([0.5])},
    "a table of anchors": {"anchors": np.zeros((2, 2), np.int64)},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
def test_parts_that_do_not_fit_are_refused(make_embeddings, changes):
    single = single_of("fde", make_embeddings)
    made = ItemFactors(
        single, np.zeros((single.lvq.dim, COLUMNS)), np.zeros(COLUMNS), LVQ(np.zeros(COLUMNS, np.float32)), 1.0,
        np.arange(3),
    )  # fmt: skip
    with pytest.raises(InvalidInputError):
        replace(made, **changes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_stored_parts_that_do_not_fit_are_refused_with_what_opening_expects(made, data):
    """Whoever can write the catalog can make checksums agree; what is caught when an index is opened must be raised."""
    params, spec = dict(made.params()), dict(made.spec())
    name = data.draw(st.sampled_from(sorted(params) + sorted(set(spec) - {"facts"})))
    if name in params:
        damage = data.draw(st.sampled_from(["drop", "flat", "short", "scalar", "text"]))
        changed = {
            "flat": lambda array: array.reshape(-1),
            "short": lambda array: array[:-1],
            "scalar": lambda array: array.reshape(-1)[:1].reshape(()),
            "text": lambda array: np.full(array.shape, "x"),
        }
        array = params.pop(name)
        if damage != "drop":
            params[name] = changed[damage](array) if array.size else np.zeros((0, 2))
    elif data.draw(st.booleans()):
        del spec[name]
    else:
        spec[name] = data.draw(st.sampled_from([None, "x", [], {}, 3, True]))
    try:
        again = ItemFactors.from_params(spec, DIM, params)
    except (InvalidInputError, KeyError, TypeError, ValueError):
        return
    assert again.width > 0
