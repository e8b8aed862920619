"""The command line. `main` is the entry point; nothing else is loaded before it runs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `latefold` with the arguments of this process."""
    try:
        from .app import make_app

        for stream in (sys.stdout, sys.stderr):  # a character that the terminal cannot show must not end a command
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        make_app()(prog_name="latefold")
    except KeyboardInterrupt:
        from ..exit_codes import INTERRUPTED

        raise SystemExit(INTERRUPTED) from None
