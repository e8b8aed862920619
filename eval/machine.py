"""What a measurement was taken on: processor, memory and versions, without names of hosts or paths."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "amx_int8": "AMX",
    "asimd": "NEON",
}
_PACKAGES = ("numpy", "numba", "onnxruntime", "tokenizers", "ir-measures", "bm25s", "PyStemmer")


def describe() -> str:
    """One line a topic: cores and CPU features, memory, operating system, Python and package versions."""
    cpu = _cpuinfo()
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    features = ", ".join(name for flag, name in _FEATURES.items() if flag in flags) or "none detected"
    model = cpu.get("model name") or platform.processor() or platform.machine()
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    return "\n".join(
        [
            f"- CPU: {model}, {cores()} core(s) available; {features}",
            f"- Memory: {_memory()}",
            f"- System: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
            f"- Packages: {versions}",
        ]
    )


def cores() -> int:
    """Processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes.

    Read from `/proc` where there is one: `getrusage` carries the parent's peak over into a process it starts.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n", 1)[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{size / 2**30:.0f} GiB"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
