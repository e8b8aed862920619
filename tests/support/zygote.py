"""A process that has imported the library and forks a child for each task, so that killing one costs milliseconds.

As a script it is that process: it reads one task a line, `{"task": name, ...}`, and runs the function of that name in
`tasks.py` in a forked child. The child reports with `say`, one JSON value a line; the process adds a first line with
the child's pid and a last one with its wait status. As a module it is the test's side, `Zygote`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self


def say(value: object) -> None:
    """Report to the test; a line is written whole or not at all."""
    os.write(1, json.dumps(value).encode() + b"\n")


class Child:
    """A running task."""

    def __init__(self, zygote: Zygote) -> None:
        self._zygote = zygote
        self.pid: int = zygote.read()["pid"]
        self.status: int | None = None

    def reports(self) -> Iterator[Any]:
        """What the child says, until it ends."""
        while self.status is None:
            value = self._zygote.read()
            if isinstance(value, dict) and "status" in value:
                self.status = value["status"]
            else:
                yield value

    def kill(self) -> None:
        """SIGKILL; the remaining reports can still be read."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)

    @property
    def killed(self) -> bool:
        return self.status is not None and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL


class Zygote:
    """The test's side of the process; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._child: Child | None = None

    def read(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the zygote has died")
        return json.loads(line)

    def start(self, task: str, **arguments: Any) -> Child:
        """Begin a task in a forked child; one at a time: what a failed test has left running is killed."""
        self._end_child()
        self._process.stdin.write(json.dumps({"task": task, **arguments}, default=str).encode() + b"\n")
        self._process.stdin.flush()
        self._child = Child(self)
        return self._child

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            for _ in self._child.reports():
                pass

    def run(self, task: str, **arguments: Any) -> list[Any]:
        """All reports of a task that must end well."""
        child = self.start(task, **arguments)
        reports = list(child.reports())
        assert child.status == 0, (task, arguments, reports, child.status)
        return reports

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_child()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main() -> None:
    import tasks
    import workload

    workload.warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                say({"pid": os.getpid()})
                getattr(tasks, request.pop("task"))(**request)
            except BaseException:
                traceback.print_exc()
                status = 1
            sys.stderr.flush()
            os._exit(status)
        _, status = os.waitpid(pid, 0)
        say({"status": status})


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    from zygote import main as run  # under its own name: tasks.py reports through the same module

    run()
