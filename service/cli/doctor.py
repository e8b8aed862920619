"""`doctor`: whether everything is here that latefold needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..exit_codes import FAILURE, OK
from .console import Output

MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}


def doctor(
    output: Output,
    folder: Annotated[Path, typer.Option("--into", help="Where indexes are going to be, for its free space.")] = Path(),
) -> int:
    """Check the installation and the machine, and say how to mend what is wrong; exit code 1 if a check fails.

    --json: {"ok", "checks": [{"name", "status": "ok" | "warn" | "fail", "detail", "fix"}]}.
    """
    from rich.text import Text

    from ..doctor import run_checks

    checks = []
    for check in run_checks(folder):
        checks.append(check)
        if not output.as_json:
            mark, style = MARKS[check.status]
            line = Text.assemble((mark, style), "  ", (f"{check.name:<16}", "bold"), check.detail)
            output.out.print(line, soft_wrap=True)
            if check.fix:
                output.out.print(Text(f"      {check.fix}", style="dim" if check.status == "ok" else style))
    failed = any(check.status == "fail" for check in checks)
    if output.as_json:
        output.json({"ok": not failed, "checks": [check.to_dict() for check in checks]})
    return FAILURE if failed else OK
