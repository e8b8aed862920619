"""Limits that the operating system keeps on processes which open other people's files, where it can."""

from __future__ import annotations

import time


def limit_memory(size: int) -> None:
    """Limit the address space of this process to so many bytes, and let it leave no image of its memory behind."""
    try:
        import resource
    except ImportError:  # not on this operating system: the wall clock still ends what gets out of hand
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_time(seconds: int) -> None:
    """Let the system end this process should nobody be left to do it: processor seconds, on top of those used."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(time.process_time()) + seconds + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def limit_other(pid: int, memory: int, seconds: int) -> None:
    """Both limits for another program, which has been started and waits for its input."""
    try:
        from resource import RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, prlimit
    except ImportError:
        return
    try:
        prlimit(pid, RLIMIT_AS, (memory, memory))
        prlimit(pid, RLIMIT_CPU, (seconds + 2, seconds + 2))
        prlimit(pid, RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        return  # it is gone, which its reader will notice; or a stricter limit holds
