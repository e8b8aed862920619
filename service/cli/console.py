"""Where the command line writes: results to stdout, progress and messages to stderr, JSON when asked for."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_WIDTH = 110
"""Columns when the output is no terminal, whose width would be a guess."""
LOG_SECONDS = 5.0
"""Seconds between progress lines where no bar can be drawn."""


class PipeConsole(Console):
    """A rich console that reports a closed pipe to its caller instead of ending the process."""

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`; `command.run` turns it into a quiet exit."""
        raise BrokenPipeError


def make_console(*, stderr: bool = False, force_terminal: bool | None = None) -> Console:
    """A console on stdout or stderr; NO_COLOR, TERM and the window size are read by rich."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return PipeConsole(stderr=stderr, width=width, highlight=False, force_terminal=force_terminal)


class Output:
    """Results and messages of one command.

    as_json: stdout carries one JSON value and nothing else. progress: True draws bars wherever stderr goes, False shows
    no progress, None draws bars on a terminal and writes a line of text every few seconds elsewhere.
    """

    def __init__(self, *, as_json: bool = False, progress: bool | None = None) -> None:
        self.as_json = as_json
        self._progress = progress
        self.out = make_console()
        self.err = make_console(stderr=True, force_terminal=progress or None)

    @property
    def styled(self) -> bool:
        """Whether stdout shows colours, so that matches need no markers."""
        return self.out.is_terminal and not self.out.no_color and self.out.color_system is not None

    def json(self, value: object) -> None:
        """Write a value to stdout as JSON: indented on a terminal, one line elsewhere; NaN and infinities as null."""
        stream = self.out.file
        ascii_only = not (getattr(stream, "encoding", None) or "ascii").lower().startswith("utf")
        indent = 2 if self.out.is_terminal else None
        text = json.dumps(finite(value), ensure_ascii=ascii_only, indent=indent, allow_nan=False)
        stream.write(text + "\n")
        stream.flush()

    def note(self, message: str) -> None:
        """A line for the person at the terminal, on stderr."""
        self.err.print(Text(message), soft_wrap=True)

    def fail(self, code: str, message: str) -> None:
        """Report an error: `error[code]: message` on stderr, or as JSON on stdout."""
        if self.as_json:
            self.json({"error": {"code": code, "message": message}})
            return
        self.err.print(Text.assemble((f"error[{code}]", "bold red"), f": {message}"), soft_wrap=True)

    @contextmanager
    def progress(self) -> Iterator[ProgressDisplay | None]:
        """Show the progress of a long operation; gives the callback to hand to it, or None when switched off."""
        if self._progress is False:
            yield None
            return
        bars = make_bars(self.err) if self.err.is_terminal else None
        display = ProgressDisplay(self, bars)
        if bars is None:
            yield display
            return
        with bars:
            yield display
            display.finish()


class ProgressDisplay:
    """The callable `progress(phase, done, total)` that the library reports to."""

    def __init__(self, output: Output, bars: Bars | None) -> None:
        self._output = output
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._expected: dict[str, int] = {}
        self._last_line = time.monotonic()

    def expect(self, phase: str, total: int | None) -> None:
        """Take `total` for a phase that cannot tell its own; a phase that gets beyond it has no total again."""
        if total is not None:
            self._expected[phase] = total

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` units of a phase are finished."""
        if total is None and done <= self._expected.get(phase, -1):
            total = self._expected[phase]
        if self._bars is None:
            self._line(phase, done, total)
            return
        task = self._tasks.get(phase)
        if task is None:
            task = self._tasks[phase] = self._bars.add_task(phase, total=total)
        self._bars.update(task, completed=done, total=total)

    def finish(self) -> None:
        """Show the end of a successful operation: totals that were guesses become what was done."""
        if self._bars is None:
            return
        for task in self._bars.tasks:
            if not task.completed:
                self._bars.remove_task(task.id)
            elif not task.finished:
                self._bars.update(task.id, total=task.completed)

    def _line(self, phase: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        started, before = self._started.setdefault(phase, (now, done))
        if now - self._last_line < LOG_SECONDS:
            return
        self._last_line = now
        self._output.note(progress_line(phase, done, total, seconds=now - started, before=before))


def progress_line(phase: str, done: int, total: int | None, *, seconds: float, before: int = 0) -> str:
    """One line of plain progress, with the time left where it can be told.

    seconds: time since `before` units were done, which a resumed run starts with.
    """
    if not total:
        return f"{phase}: {done:,}"
    left = seconds * (total - done) / (done - before) if done > before else None
    share = f"{phase}: {done:,} of {total:,} ({done / total:.0%})"
    return share if left is None else f"{share}, {duration(left)} left"


def make_bars(console: Console) -> Bars:
    """Progress bars with phase, count, share, rate of time passed and time left."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def finite(value: object) -> Any:
    """A JSON value with NaN and infinities, which JSON has no word for, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def count(number: int, noun: str) -> str:
    """A number of things: `1 result`, `2,000 results`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(amount: float) -> str:
    """Bytes for people: `1.4 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds for people: `0.42 s`, `1 min 5 s`, `2 h 3 min`."""
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
