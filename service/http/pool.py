"""Blocking work off the event loop: bounded threads, a bounded queue and a deadline."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import RETRY_AFTER, Problem

T = TypeVar("T")
logger = logging.getLogger("latefold.http")


class WorkerPool:
    """Runs functions on `workers` threads; at most `queue` more wait, and none longer than `deadline_s` seconds.

    A place is free again when the function has returned, not when its caller gave up: overdue work keeps counting.
    """

    def __init__(self, name: str, *, workers: int, queue: int, deadline_s: float) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=f"latefold-{name}")
        self._places = threading.Semaphore(workers + queue)
        self._deadline_s = deadline_s

    async def run(self, function: Callable[[], T]) -> T:
        """Result of `function()`. Raises its error, `Problem` 503 when all places are taken, 504 when it is late."""
        if not self._places.acquire(blocking=False):
            raise Problem(503, "overloaded", "too many requests at once; try again", headers=RETRY_AFTER)
        try:
            work = self._executor.submit(function)
        except RuntimeError as error:  # the executor has been shut down
            self._places.release()
            raise Problem(503, "stopping", "the server is stopping", headers=RETRY_AFTER) from error
        work.add_done_callback(lambda _: self._places.release())
        result = asyncio.wrap_future(work)
        try:
            await asyncio.wait((result,), timeout=self._deadline_s)
            if result.done():
                return result.result()
        finally:
            if not result.done():
                result.cancel()  # takes effect if the work is still queued; a thread cannot be stopped
                work.add_done_callback(_log_late_failure)
        raise Problem(
            504,
            "deadline_exceeded",
            f"no result within {self._deadline_s:g} s; a change may still be carried out",
        )

    def close(self) -> None:
        """Wait for running work and drop what is queued."""
        self._executor.shutdown(cancel_futures=True)


def _log_late_failure(work: Future[T]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        logger.error("work failed after its deadline", exc_info=error)
