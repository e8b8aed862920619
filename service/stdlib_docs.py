"""Documentation of the Python standard library, gathered by introspection of the running interpreter.

Importing some three hundred modules is not something to do inside one's own process, so this file is also a script of
its own, with no import but the standard library's:

    python -I stdlib_docs.py OUTPUT.jsonl [MODULE_TO_SKIP ...]

It writes one JSON object a line: `{"module": name}` before each import, so that a reader can name the module that
crashed or hung the process, and `{"id", "title", "text", "metadata"}` for each documented object.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TextIO

EXCLUDED = frozenset(
    # They act when imported, open a window, or are demonstrations and test suites.
    "antigravity this idlelib test tests turtle turtledemo tkinter lib2to3 ensurepip site pip distutils "
    # The platform's side of os, os.path and re, tables of code pages, and generated data.
    "posix posixpath nt ntpath genericpath nturl2path sre_compile sre_constants sre_parse encodings pydoc_data "
    "msilib winreg winsound opcode".split()
)
MAX_CHARACTERS = 1_000
"""Longest text of one object: about the 256 tokens that the bundled encoder reads of a document."""
MIN_CHARACTERS = 24
"""Shorter docstrings ("Return self.") say nothing that their names do not."""
MAX_SIGNATURE = 90
_GENERATED = ("Alias for field number", "The type of the None singleton")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

Record = dict[str, Any]


def walk(skip: frozenset[str], entering: Callable[[str], None]) -> Iterator[ModuleType]:
    """Import every public module of the standard library that this platform has, packages before their parts.

    skip: modules to leave out with all that is under them. entering: called with each name just before its import.
    """
    names = sorted(sys.stdlib_module_names, key=lambda name: (name != "builtins", name))
    queue = deque(name for name in names if not name.startswith("_"))
    while queue:
        name = queue.popleft()
        if name in skip or name.rpartition(".")[2] in EXCLUDED:
            continue
        entering(name)
        module = import_quietly(name)
        if module is None:
            continue
        yield module
        parts = pkgutil.iter_modules(getattr(module, "__path__", ()), prefix=f"{name}.")
        queue.extend(part.name for part in parts if not part.name.rpartition(".")[2].startswith("_"))


def import_quietly(name: str) -> ModuleType | None:
    """The module, or None where it cannot be imported here (another platform's, or a part that was not built)."""
    try:
        sink = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (Exception, SystemExit):  # noqa: BLE001  any module may raise anything at import
        return None


def describe(module: ModuleType, seen: set[str]) -> Iterator[Record]:
    """Records of a module, its public functions and classes, and their public methods and properties.

    seen: docstrings met so far; an object whose docstring is among them (a re-export, an override) is left out.
    """
    yield from _record(module.__name__, "module", module, module, seen)
    for name, value in _members(module):
        qualified = name if module.__name__ == "builtins" else f"{module.__name__}.{name}"
        if inspect.isclass(value):
            yield from _record(qualified, "class", value, module, seen)
            for method, kind, function in _methods(value):
                yield from _record(f"{qualified}.{method}", kind, function, module, seen)
        elif callable(value):
            yield from _record(qualified, "function", value, module, seen)


def _members(module: ModuleType) -> list[tuple[str, Any]]:
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return [(name, getattr(module, name)) for name in exported if hasattr(module, name)]
    public = [(name, value) for name, value in vars(module).items() if not name.startswith("_")]
    return [(name, value) for name, value in public if _defined_in(value, module.__name__)]


def _defined_in(value: Any, module: str) -> bool:
    origin = getattr(value, "__module__", None)
    return isinstance(origin, str) and origin in {module, f"_{module}", "builtins"}


def _methods(cls: type) -> Iterator[tuple[str, str, Any]]:
    for name, value in vars(cls).items():
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield name, "property", value
        elif isinstance(value, staticmethod | classmethod):
            yield name, "method", value.__func__
        elif inspect.isroutine(value):
            yield name, "method", value


def _record(qualified: str, kind: str, value: Any, module: ModuleType, seen: set[str]) -> Iterator[Record]:
    text = getattr(value, "__doc__", None)
    if kind == "class" and not text and inspect.isfunction(value.__init__):
        text = value.__init__.__doc__
    if not isinstance(text, str):
        return
    text = inspect.cleandoc(text).strip()
    if len(text) < MIN_CHARACTERS or text in seen or text.startswith(_GENERATED):
        return
    seen.add(text)
    metadata = {"module": module.__name__, "kind": kind}
    source = _source(value, module)
    if source:
        metadata["source"] = source
    yield {
        "id": qualified,
        "title": qualified + _signature(value, kind),
        "text": _shorten(text),
        "metadata": metadata,
    }


def _signature(value: Any, kind: str) -> str:
    if kind not in {"class", "function", "method"}:
        return ""
    try:
        signature = _ADDRESS.sub("", str(inspect.signature(value)))
    except Exception:  # noqa: BLE001  it evaluates default values written by the module, which may raise anything
        return ""
    return signature if len(signature) <= MAX_SIGNATURE else "(…)"


def _source(value: Any, module: ModuleType) -> str | None:
    code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
    code = code if isinstance(code, CodeType) else None
    file = code.co_filename if code else getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    with contextlib.suppress(ValueError):
        file = Path(file).relative_to(Path(os.__file__).parent).as_posix()
    return f"{file}:{code.co_firstlineno}" if code else file


def _shorten(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    cut = text.rfind("\n", MAX_CHARACTERS // 2, MAX_CHARACTERS)
    return text[: cut if cut > 0 else MAX_CHARACTERS].rstrip() + " …"


def write(output: TextIO, skip: frozenset[str]) -> None:
    """Write the records of the whole standard library, and the name of each module before its import."""

    def line(value: Record) -> None:
        output.write(json.dumps(value) + "\n")

    def entering(name: str) -> None:
        line({"module": name})
        output.flush()

    seen: set[str] = set()
    ids: set[str] = set()
    for module in walk(skip, entering):
        for record in describe(module, seen):
            if record["id"] not in ids:
                ids.add(record["id"])
                line(record)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("w", encoding="utf-8") as file:
        write(file, frozenset(sys.argv[2:]))
        file.flush()
        os._exit(0)  # threads or exit handlers that a module left behind are of no interest
