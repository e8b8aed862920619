"""Filters against a plain Python reading of the same grammar."""

import json
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latefold.encoders.errors import InvalidFilterError
from latefold.retrieval.filters import MAX_DEPTH, MAX_TERMS, compile_filter

DOCUMENTS = [
    {"lang": "en", "year": 1999, "tags": ["a", "b"], "nested": {"deep": 1}, "flag": True},
    {"lang": "de", "year": 2005.5, "tags": [], "nested": {"deep": "1"}, "flag": False},
    {"lang": "english", "year": None, "tags": ["b", 3], "flag": 1},
    {"year": "1999", "nested": {"deep": [1, 2]}},
    {},
]
VALUES = st.sampled_from(["en", "e", "de", "a", "b", "1", "1999", 1, 3, 1999, 2005.5, 0, True, False, None])
FIELDS = st.sampled_from(["lang", "year", "tags", "nested.deep", "flag", "absent", "id", "title", "source"])


@pytest.fixture(scope="module")
def table():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE documents (row INTEGER PRIMARY KEY, id, title, metadata, source)")
    for row, metadata in enumerate(DOCUMENTS):
        source = None if row == 4 else "en"
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (row, f"d{row}", "en", json.dumps(metadata), source)
        )
    yield connection
    connection.close()


def select(table, value):
    compiled = compile_filter(value)
    rows = table.execute(f"SELECT row FROM documents WHERE {compiled.where} ORDER BY row", compiled.parameters)
    return [row for (row,) in rows]


def values_of(row, field):
    columns = {"id": f"d{row}", "title": "en", "source": None if row == 4 else "en"}
    if field in columns:
        return [columns[field]]
    value = DOCUMENTS[row]
    for key in field.split("."):
        if not isinstance(value, dict) or key not in value:
            return []
        value = value[key]
    return list(value) if isinstance(value, list) else [value]


def number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left, right):
    if number(left) and number(right):
        return left == right
    return type(left) is type(right) and left == right


def test_of(row, field, operator, operand):
    values = values_of(row, field)
    if operator in ("$ne", "$nin"):
        return not test_of(row, field, {"$ne": "$eq", "$nin": "$in"}[operator], operand)
    if operator == "$eq":
        return any(equal(value, operand) for value in values)
    if operator == "$in":
        return any(equal(value, item) for value in values for item in operand)
    if operator == "$exists":
        return any(value is not None for value in values) == operand
    if operator == "$prefix":
        return any(isinstance(value, str) and value.startswith(operand) for value in values)
    compare = {"$gt": "__gt__", "$gte": "__ge__", "$lt": "__lt__", "$lte": "__le__"}[operator]
    if number(operand):
        return any(getattr(float(value), compare)(float(operand)) for value in values if number(value))
    return any(getattr(value, compare)(operand) for value in values if isinstance(value, str))


test_of.__test__ = False


def matches(row, tree):
    for key, operand in tree.items():
        if key == "$and":
            ok = all(matches(row, part) for part in operand)
        elif key == "$or":
            ok = any(matches(row, part) for part in operand)
        elif key == "$not":
            ok = not matches(row, operand)
        elif isinstance(operand, dict):
            ok = all(test_of(row, key, name, value) for name, value in operand.items())
        else:
            ok = test_of(row, key, "$eq", operand)
        if not ok:
            return False
    return True


ORDERED = VALUES.filter(lambda value: not isinstance(value, bool) and value is not None)
CONDITIONS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), ORDERED, min_size=1),
    st.dictionaries(st.sampled_from(["$in", "$nin"]), st.lists(VALUES, max_size=3), min_size=1),
    st.fixed_dictionaries({"$exists": st.booleans()}),
    st.fixed_dictionaries({"$prefix": st.sampled_from(["e", "en", "", "19", "%"])}),
)
TREES = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, max_size=2),
    lambda tree: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(tree, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(tree, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": tree}),
    ),
    max_leaves=5,
)


@given(TREES)
@settings(deadline=None, max_examples=300)
def test_a_filter_selects_what_its_grammar_says(table, tree):
    assert select(table, tree) == [row for row in range(len(DOCUMENTS)) if matches(row, tree)]


@given(st.text(min_size=1, max_size=20).filter(lambda s: '"' not in s and "\0" not in s and not s.startswith("$")))
@settings(deadline=None)
def test_field_names_are_never_sql(table, field):
    try:
        field.encode()
    except UnicodeEncodeError:
        return
    assert select(table, {field: "'; DROP TABLE documents; --"}) == []


@pytest.mark.parametrize(
    "value",
    [
        [],
        "x",
        {"a": {"$regex": "x"}},
        {"$nor": []},
        {"$and": []},
        {"$or": {}},
        {"$not": 3},
        {"a": {}},
        {"a": {"$gt": None}},
        {"a": {"$gt": True}},
        {"a": {"$in": "x"}},
        {"a": {"$exists": 1}},
        {"a": {"$prefix": 1}},
        {"a": [1]},
        {"a": {"$eq": {"b": 1}}},
        {'a"b': 1},
        {"a\0": 1},
        {"": 1},
        {"a": "\ud800"},
        {"a\ud800": 1},
        {"a": 2**63},
        {"a": {"$gt": -(2**64)}},
        {"a": float("nan")},
        {"a": {"$gt": float("nan")}},
    ],
)
def test_what_is_not_of_the_grammar_is_refused(value):
    with pytest.raises(InvalidFilterError):
        compile_filter(value)


def test_limits_hold_exactly():
    nested = {"a": 1}
    for _ in range(MAX_DEPTH - 1):
        nested = {"$not": nested}
    compile_filter(nested)
    with pytest.raises(InvalidFilterError, match="deeper"):
        compile_filter({"$not": nested})
    compile_filter({"a": {"$in": list(range(MAX_TERMS))}})
    with pytest.raises(InvalidFilterError, match="terms"):
        compile_filter({"a": {"$in": list(range(MAX_TERMS + 1))}})
