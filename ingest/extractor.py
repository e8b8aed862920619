"""Pages of PDF, HTML and image files, read in a child process with limits on memory and time."""

from __future__ import annotations

import json
import math
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import xxhash

from ..encoders.errors import InvalidInputError
from ..encoders.pages import Pixels
from .options import MIB
from .pages import MAX_TEXT, TOO_LONG, Extracted, ExtractedPage, PageStream

_WORKER = f"{__package__}.extract_worker"
_SECONDS_A_PAGE = 1.0
"""What another page that was delivered adds to the time of its file."""
_MAX_HEADER = 1 << 16
_MAX_BODY = 1 << 29
"""More bytes than any page has, so that a child that went wrong cannot fill this process."""


class Extractor:
    """Reads PDF, HTML and image files in one child process, started on first use and replaced when it dies.

    seconds: wall time of the child for a file. Every page after the first that is delivered adds one second to it,
    unless it repeats an earlier one, and no single page has more than `seconds`; so a long file may take long, and one
    that gives little ends in time.
    memory: address space of the child in bytes, where the operating system can limit it.
    A context manager; not for several threads at a time. Files may be read, and pages rendered, in any order.
    """

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._child: _Child | None = None

    def read(self, path: Path, kind: str, *, thumbnails: bool = False) -> Extracted:
        """A whole file; kind is `pdf`, `html` or `image`. Raises `InvalidInputError` as `pages` does."""
        pages = self.pages(path, kind, thumbnails=thumbnails)
        return Extracted(pages.title, list(pages), pages.unreadable)

    def pages(self, path: Path, kind: str, *, thumbnails: bool = False) -> PageStream:
        """The pages of a file, one by one, so that a long one need not be held; the file is opened at once.

        Raises `InvalidInputError`, here or at any page, saying why the file cannot be read: encrypted, damaged, too
        large, too much time or memory. Pages given before that are good.
        """
        return _Pages(self, path, kind, thumbnails, self._seconds)

    def render(
        self, path: Path, kind: str, number: int, *, longest: int | None = None, dpi: float | None = None
    ) -> Pixels:
        """A page of a PDF or image file, `(height, width, 3)` RGB on white, upright; number is from 1.

        longest: pixels of the longer side, or no more than that where dpi is given too. dpi: of a PDF; 150 if neither
        is given. An image is never enlarged and has no dpi. At most 40 million pixels: an image, and a page with
        `longest`, is scaled down to that.

        Raises `InvalidInputError` when there is no such page, it cannot be read, or it has too many pixels.
        """
        if (longest is not None and longest < 1) or (dpi is not None and not 0 < dpi < math.inf):
            raise InvalidInputError(f"a page is rendered with positive longest and dpi, got {longest} and {dpi}")
        request = {"do": "render", "path": str(path), "kind": kind, "number": number, "longest": longest, "dpi": dpi}
        late = f"rendering page {number} took longer than {self._seconds:g} seconds"
        header, body, _ = self.ask(request, self._seconds, late)
        if "shape" not in header:
            raise InvalidInputError(f"page {number} cannot be read" if "unreadable" in header else f"no page {number}")
        return np.frombuffer(body, np.uint8).reshape(header["shape"])

    def ask(self, request: dict[str, Any], seconds: float, late: str) -> tuple[dict[str, Any], bytearray, float]:
        """The header and the bytes of the child's answer, and how many seconds it took. See `extract_worker`.

        Raises `InvalidInputError` with the child's reason, or when it died; saying `late` when it took longer than
        `seconds`.
        """
        if self._child is None:
            self._child = _Child(self._memory)
        started = time.monotonic()
        try:
            self._child.ask({**request, "seconds": math.ceil(seconds)})
            header, body = self._child.answer(started + seconds)
        except TimeoutError:
            self.close()
            raise InvalidInputError(late) from None
        except (EOFError, OSError):
            self.close()
            limit = f"{self._memory // MIB} MiB"
            raise InvalidInputError(
                f"the reader crashed on it (damaged, or needs more than {limit} of memory)"
            ) from None
        if "error" in header:
            raise InvalidInputError(header["error"])
        return header, body, time.monotonic() - started

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


class _Pages:
    """See `PageStream`. Only time spent waiting for the child counts."""

    def __init__(self, extractor: Extractor, path: Path, kind: str, thumbnails: bool, seconds: float) -> None:
        self._extractor = extractor
        self._request = {"path": str(path), "kind": kind, "thumbnail": thumbnails}
        self._seconds = self._left = seconds
        self._number = 0
        self._characters = 0
        self._seen: set[bytes] = set()
        self.unreadable: list[int] = []
        self.title: str = self._ask("open")[0]["title"]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ExtractedPage:
        while True:
            self._number += 1
            header, body = self._ask("page")
            if "end" in header:
                self._number -= 1
                raise StopIteration
            if "unreadable" not in header:
                return self._received(header, body)
            self.unreadable.append(self._number)

    def _ask(self, do: str) -> tuple[dict[str, Any], bytearray]:
        seconds = min(self._seconds, self._left)
        late = f"reading took longer than {self._seconds:g} seconds"
        if len(self._seen) > 1:
            late += f", and one more for each of {len(self._seen) - 1} pages read"
        if seconds <= 0:
            raise InvalidInputError(late)
        request = {**self._request, "do": do, "number": self._number}
        header, body, taken = self._extractor.ask(request, seconds, late)
        self._left -= taken
        return header, body

    def _received(self, header: dict[str, Any], body: bytearray) -> ExtractedPage:
        page = ExtractedPage.unpack(header, body)
        self._characters += len(page.text)
        if self._characters > MAX_TEXT:
            raise InvalidInputError(TOO_LONG)
        content = xxhash.xxh3_128_digest(body)
        if self._seen and content not in self._seen:
            self._left += _SECONDS_A_PAGE
        self._seen.add(content)
        return page


class _Child:
    """The child process and a thread that receives its answers, so that waiting for one can time out."""

    def __init__(self, memory: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", _WORKER, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each of its threads would claim memory, and none works
        )
        self._answers: queue.Queue[tuple[bytes, bytearray]] = queue.Queue()
        self._receiver = threading.Thread(target=self._receive, name="extract-answers", daemon=True)
        self._receiver.start()

    def _receive(self) -> None:
        """Hand on one answer after the other; an empty one when there are no more, or none that makes sense."""
        stream = self._process.stdout
        assert stream is not None
        try:
            while line := stream.readline(_MAX_HEADER):
                body = bytearray(min(json.loads(line)["bytes"], _MAX_BODY))
                if stream.readinto(body) < len(body):  # type: ignore[attr-defined]
                    break
                self._answers.put((line, body))
        except (ValueError, KeyError, TypeError, MemoryError):
            pass  # no line of ours
        self._answers.put((b"", bytearray()))

    def ask(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        self._process.stdin.flush()

    def answer(self, deadline: float) -> tuple[dict[str, Any], bytearray]:
        """The next answer. Raises `TimeoutError` at the deadline (monotonic seconds), `EOFError` after a crash."""
        try:
            line, body = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if not line:
            raise EOFError
        header: dict[str, Any] = json.loads(line)
        return header, body

    def end(self) -> None:
        self._process.kill()
        self._receiver.join()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # unsent bytes for a process that is gone
