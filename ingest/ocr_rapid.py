"""The OCR engine `rapidocr`: the package of this name, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import math
import queue
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from typing import Any, Final, Self

import numpy as np

from ..encoders.errors import InvalidInputError, MissingExtraError
from ..encoders.pages import Pixels
from .ocr import Recognized, best_turn, is_upright, lies, recognized, split_words
from .options import MIB
from .reading_order import Line, Word

_PACKAGE: Final = "rapidocr"
_NEEDED: Final = (_PACKAGE, "cv2", "onnxruntime")
_WORKER: Final = f"{__package__}.ocr_worker"
_MEMORY: Final = 4096 * MIB
_MAX_PIXELS: Final = 50_000_000
_MIN_SIDE: Final = 8
_SECONDS_TO_START: Final = 120.0


def installed() -> list[str]:
    """`["rapidocr"]` if the package and what it runs on are here."""
    return [_PACKAGE] if all(find_spec(name) for name in _NEEDED) else []


class RapidOcr:
    """See `OcrEngine`. threads: processes, of one thread each, and so pages at a time; more readers wait.

    seconds: wall time a page; loading the models is not part of it. Processes start when they are first needed, and
    again after one has crashed or was ended.
    """

    def __init__(self, threads: int, seconds: float) -> None:
        if not installed():
            raise MissingExtraError("OCR by rapidocr", "ocr")
        from importlib.metadata import version

        self.name = f"{_PACKAGE} {version(_PACKAGE)}"
        self._seconds = seconds
        self._children = [_Child() for _ in range(threads)]
        self._idle: queue.LifoQueue[_Child] = queue.LifoQueue()
        for child in reversed(self._children):
            self._idle.put(child)

    def read(self, image: Pixels) -> Recognized:
        """See `OcrEngine.read`."""
        height, width = image.shape[:2]
        if min(height, width) < _MIN_SIDE:
            return recognized([], width, height)
        if height * width > _MAX_PIXELS:
            raise InvalidInputError(f"a page of {width} x {height} pixels is too large for OCR: make it smaller")
        child = self._idle.get()  # the one that was used last, so that few pages start few processes

        def read(turned: Pixels) -> Recognized:
            return recognized(child.read(turned, deadline), turned.shape[1], turned.shape[0])

        try:
            child.start()
            deadline = time.monotonic() + self._seconds
            page = read(image)
            return (
                page if is_upright(page, image) else best_turn(page, image, read, (1, 3) if lies(page, image) else (2,))
            )
        except TimeoutError:
            raise InvalidInputError(f"OCR took longer than {self._seconds:g} seconds") from None
        finally:
            self._idle.put(child)

    def close(self) -> None:
        """End the processes, also those that are at work."""
        for child in self._children:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Child:
    """A process that reads one page at a time. A timer ends it when it takes too long."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and load its models, unless it runs."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", _WORKER, str(_MEMORY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._ask([], time.monotonic() + _SECONDS_TO_START)
        except InvalidInputError:
            self.end()
            raise

    def read(self, image: Pixels, deadline: float) -> list[Line]:
        """The lines on a page. Raises `TimeoutError` at the deadline (monotonic seconds)."""
        self.start()
        seconds = math.ceil(max(1.0, deadline - time.monotonic()))
        request = json.dumps({"shape": image.shape[:2], "seconds": seconds}).encode("ascii") + b"\n"
        answer = self._ask([request, np.ascontiguousarray(image).data.cast("B")], deadline)
        return [
            Line([Word(part, *map(float, place)) for text, *place in line for part in split_words(text)])
            for line in answer["lines"]
        ]

    def _ask(self, parts: list[bytes | memoryview], deadline: float) -> dict[str, Any]:
        """Send parts and wait for an answer; without one the process is ended."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), process.kill)
        timer.daemon = True
        timer.start()
        try:
            for part in parts:
                process.stdin.write(part)
            process.stdin.flush()
            line = process.stdout.readline()
        except (OSError, ValueError):  # it died, or `close` was called by another thread
            line = b""
        finally:
            timer.cancel()
        if not line.endswith(b"\n"):
            self.end()
            if time.monotonic() >= deadline:
                raise TimeoutError
            limit = f"{_MEMORY // MIB} MiB"
            raise InvalidInputError(f"OCR by rapidocr crashed (a broken image, or more than {limit} of memory)")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InvalidInputError(f"OCR by rapidocr failed: {answer['error']}")
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # unsent bytes for a process that is gone
                    pipe.close()
