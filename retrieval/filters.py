"""Metadata filters: a JSON tree compiled to a SQL condition whose values are always bound, never text.

    {"lang": "en"}                                  equality (for a list: one of its members)
    {"year": {"$gte": 2000, "$lt": 2010}}           $eq $ne $gt $gte $lt $lte $in $nin $exists $prefix
    {"$or": [{"lang": "en"}, {"$not": {"a.b": 1}}]}  $and $or $not; dotted paths reach into objects

Fields are metadata keys, plus `id`, `title` and `source` of the document itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..encoders.errors import InvalidFilterError

MAX_DEPTH: Final = 8
MAX_TERMS: Final = 256
_COLUMNS: Final = {"id", "title", "source"}
_ORDER: Final = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class CompiledFilter:
    """A SQL condition over the table `documents` and its bound values."""

    where: str
    parameters: tuple[Any, ...]


def compile_filter(value: Mapping[str, Any]) -> CompiledFilter:
    """Compile a filter. Raises `InvalidFilterError` saying which part is not of the grammar."""
    if not isinstance(value, Mapping):
        raise InvalidFilterError(f"a filter is a JSON object, not {type(value).__name__}")
    compiler = _Compiler()
    where = compiler.node(value, 1)
    return CompiledFilter(where, tuple(compiler.parameters))


class _Compiler:
    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self._terms = 0

    def node(self, value: Any, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise InvalidFilterError(f"the filter is nested deeper than {MAX_DEPTH} levels")
        if not isinstance(value, Mapping):
            raise InvalidFilterError(f"expected an object inside the filter, got {value!r:.60}")
        parts = [self._entry(str(key), operand, depth) for key, operand in value.items()]
        return f"({' AND '.join(parts)})" if parts else "(1)"

    def _entry(self, key: str, operand: Any, depth: int) -> str:
        if key in ("$and", "$or"):
            if not isinstance(operand, list | tuple) or not operand:
                raise InvalidFilterError(f"{key} takes a non-empty list of filters")
            parts = [self.node(part, depth + 1) for part in operand]
            return f"({(' AND ' if key == '$and' else ' OR ').join(parts)})"
        if key == "$not":
            return f"NOT {self.node(operand, depth + 1)}"
        if key.startswith("$"):
            raise InvalidFilterError(f"unknown operator {key!r:.60}; at this place: $and, $or, $not or a field name")
        return self._field(key, operand)

    def _field(self, field: str, operand: Any) -> str:
        field_of = _column(field) if field in _COLUMNS else _path(field)
        if not isinstance(operand, Mapping):
            return self._test(field_of, field, "$eq", operand)
        if not operand:
            raise InvalidFilterError(f"the condition on {field!r:.60} is empty")
        tests = [self._test(field_of, field, str(name), value) for name, value in operand.items()]
        return f"({' AND '.join(tests)})"

    def _test(self, field_of: _Field, field: str, operator: str, value: Any) -> str:
        self._terms += len(value) if isinstance(value, list | tuple) else 1
        if self._terms > MAX_TERMS:
            raise InvalidFilterError(f"the filter has more than {MAX_TERMS} terms")
        compile_one = _OPERATORS.get(operator)
        if compile_one is None:
            raise InvalidFilterError(
                f"unknown operator {operator!r:.60} on {field!r:.60}; one of {', '.join(_OPERATORS)}"
            )
        condition, bound = compile_one(operator, value, field)
        self.parameters += [*field_of.bound, *bound]
        negative = operator in ("$ne", "$nin") or (operator == "$exists" and not value)
        return f"{'NOT ' if negative else ''}EXISTS (SELECT 1 FROM {field_of.source} AS f WHERE {condition})"  # noqa: S608 - values are bound


@dataclass(frozen=True)
class _Field:
    """How to reach a field's values: a column, or the members of a JSON path (a scalar is its own only member)."""

    source: str
    bound: tuple[str, ...]


def _column(name: str) -> _Field:
    return _Field(f"(SELECT {name} AS value, CASE WHEN {name} IS NULL THEN 'null' ELSE 'text' END AS type)", ())


def _path(field: str) -> _Field:
    if not field or '"' in field or "\0" in field or len(field) > 256:
        raise InvalidFilterError(f"{field!r:.60} is not a usable field name")
    _encodable(field, field)
    path = "$" + "".join(f'."{key}"' for key in field.split("."))
    return _Field("json_each(metadata, ?)", (path,))


Compiled = tuple[str, list[Any]]


def _equal(operator: str, value: Any, field: str) -> Compiled:
    _scalar(operator, value, field)
    if value is None:
        return "f.type = 'null'", []
    if isinstance(value, bool):
        return f"f.type = '{'true' if value else 'false'}'", []
    return f"(f.value = ? AND {_same_type(value)})", [value]


def _ordered(operator: str, value: Any, field: str) -> Compiled:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidFilterError(f"{operator} on {field!r:.60} takes a number or a string, not {value!r:.60}")
    _scalar(operator, value, field)
    return f"(f.value {_ORDER[operator]} ? AND {_same_type(value)})", [value]


def _member(operator: str, value: Any, field: str) -> Compiled:
    if not isinstance(value, list | tuple):
        raise InvalidFilterError(f"{operator} on {field!r:.60} takes a list, not {value!r:.60}")
    tests = [_equal(operator, item, field) for item in value]
    condition = " OR ".join(sql for sql, _ in tests) or "0"
    return f"({condition})", [bound for _, part in tests for bound in part]


def _exists(operator: str, value: Any, field: str) -> Compiled:
    if not isinstance(value, bool):
        raise InvalidFilterError(f"{operator} on {field!r:.60} takes true or false, not {value!r:.60}")
    return "f.type <> 'null'", []


def _prefix(operator: str, value: Any, field: str) -> Compiled:
    if not isinstance(value, str):
        raise InvalidFilterError(f"{operator} on {field!r:.60} takes a string, not {value!r:.60}")
    _scalar(operator, value, field)
    return "(f.type = 'text' AND substr(f.value, 1, length(?)) = ?)", [value, value]


def _same_type(value: Any) -> str:
    return "f.type = 'text'" if isinstance(value, str) else "f.type IN ('integer', 'real')"


def _scalar(operator: str, value: Any, field: str) -> None:
    if not isinstance(value, _SCALARS):
        raise InvalidFilterError(f"{operator} on {field!r:.60} takes a string, number, boolean or null")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InvalidFilterError(f"{value} on {field!r:.60} does not fit 64 bits")
    if isinstance(value, float) and value != value:
        raise InvalidFilterError(f"{operator} on {field!r:.60} got NaN")
    if isinstance(value, str):
        _encodable(value, field)


def _encodable(value: str, field: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidFilterError(f"the condition on {field!r:.60} is not valid Unicode") from None


_OPERATORS: Final[dict[str, Callable[[str, Any, str], Compiled]]] = {
    "$eq": _equal,
    "$ne": _equal,
    "$gt": _ordered,
    "$gte": _ordered,
    "$lt": _ordered,
    "$lte": _ordered,
    "$in": _member,
    "$nin": _member,
    "$exists": _exists,
    "$prefix": _prefix,
}
