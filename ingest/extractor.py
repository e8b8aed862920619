"""Text of PDF and HTML files, read in a child process with limits on memory and time."""

from __future__ import annotations

import json
import math
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..encoders.errors import InvalidInputError
from .extract_worker import MAX_TEXT, TOO_LONG
from .options import MIB

_WORKER = f"{__package__}.extract_worker"


@dataclass(frozen=True)
class Extracted:
    """What a file holds.

    pages: number (from 1; None for a file without pages) and text of each. unreadable: numbers of damaged pages.
    """

    title: str
    pages: list[tuple[int | None, str]]
    unreadable: list[int]


class Extractor:
    """Reads PDF and HTML files in one child process, started on first use and replaced after a crash or a timeout.

    seconds: wall time per file. memory: address space of the child in bytes, where the operating system can limit it.
    A context manager; not for several threads at a time.
    """

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._child: _Child | None = None

    def read(self, path: Path, kind: str) -> Extracted:
        """Title and text of a file; kind is `pdf` or `html`.

        Raises `InvalidInputError` saying why the file cannot be read: encrypted, damaged, too much time or memory.
        """
        if self._child is None:
            self._child = _Child(self._memory)
        deadline = time.monotonic() + self._seconds
        request = {"kind": kind, "path": str(path), "seconds": math.ceil(self._seconds)}
        try:
            return self._conversation(self._child, request, deadline)
        except TimeoutError:
            self.close()
            raise InvalidInputError(f"reading took longer than {self._seconds:g} seconds") from None
        except (EOFError, OSError):
            self.close()
            limit = f"{self._memory // MIB} MiB"
            raise InvalidInputError(
                f"the reader crashed on it (damaged, or needs more than {limit} of memory)"
            ) from None

    def _conversation(self, child: _Child, request: dict[str, Any], deadline: float) -> Extracted:
        pages: list[tuple[int | None, str]] = []
        size = 0
        child.ask(request)
        while True:
            answer = child.answer(deadline)
            if "error" in answer:
                raise InvalidInputError(answer["error"])
            if "done" in answer:
                return Extracted(answer["title"], pages, answer["unreadable"])
            size += len(answer["text"])
            if size > MAX_TEXT:
                self.close()
                raise InvalidInputError(TOO_LONG)
            pages.append((answer["page"], answer["text"]))

    def close(self) -> None:
        """End the child process."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Child:
    """The child process and a thread that receives its answers, so that waiting for one can time out."""

    def __init__(self, memory: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", _WORKER, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._answers: queue.Queue[bytes] = queue.Queue(maxsize=64)
        self._receiver = threading.Thread(target=self._receive, name="extract-answers", daemon=True)
        self._receiver.start()

    def _receive(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        self._process.stdin.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """The next answer. Raises `TimeoutError` at the deadline (monotonic seconds), `EOFError` after a crash."""
        try:
            line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        self._process.kill()
        while self._receiver.is_alive():  # it may be waiting for room to put an answer
            try:
                self._answers.get(timeout=0.05)
            except queue.Empty:
                continue
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent bytes for a process that is gone
