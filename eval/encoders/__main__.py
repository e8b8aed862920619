"""`python -m latefold.eval.encoders`: measure the bundled encoder, pooled and unpooled, against others, and report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .. import command
from .pages import page
from .plan import Plan
from .plots import draw
from .report import Report, without_folder
from .run import encode_all, perform, planned, run_all
from .worker import Job

PROGRAM: Final = "python -m latefold.eval.encoders"
COLLECTIONS = ("scifact", "cranfield", "cisi", "cacm")
QUICK = ("cacm",)
_ENCODER: Final = "latefold"


@dataclass(frozen=True)
class Settings(command.Settings):
    """One run; posthoc: an encoder that was trained without pooling."""

    posthoc: str | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    settings = _parse(arguments)
    return command.finish(lambda: run(settings))


def run(settings: Settings) -> Path:
    """Measure what was not measured before; write `encoder.md` and its chart. Returns the page."""
    place, plan = settings.place, Plan(settings.encoder, settings.posthoc, settings.quick)
    present, digests, absent = command.prepared(settings.collections, lambda name: perform(Job("open", name), place))
    made, unloaded = encode_all(plan.encoders, list(present), place, command.say)
    weighed = planned(plan, list(present), made)
    results = run_all(weighed, place, digests, fresh=settings.fresh, report=command.say)
    report = Report(
        plan,
        list(zip([item.job for item in weighed], results, strict=True)),
        {name: int(next(iter(found.values()))["dim"]) for name, found in made.items()},
        {name: str(result["summary"]) for name, result in present.items()},
        {**absent, **{Path(name).name: without_folder(reason, name) for name, reason in unloaded.items()}},
    )
    shown = replace(settings, encoder=Path(settings.encoder).name)
    about = command.about(
        PROGRAM, shown, QUICK if settings.quick else COLLECTIONS, "bm25s, and scipy for Ward's clusters", _more(plan)
    )
    again = f"{PROGRAM} --data DATA{' --quick' * settings.quick}{_more(plan)}"
    return command.write(settings.out / "encoder.md", lambda: page(report, draw(report, settings.out), about, again))


def _more(plan: Plan) -> str:
    """The options of this run, paths by their last part."""
    names = {"--encoder": plan.encoder if plan.encoder != _ENCODER else None, "--posthoc": plan.posthoc}
    return "".join(f" {option} {Path(name).name}" for option, name in names.items() if name is not None)


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = command.options(PROGRAM, __doc__, COLLECTIONS)
    parser.set_defaults(encoder=_ENCODER)
    parser.add_argument("--posthoc", help="name or path of an encoder that was trained without pooling")
    given = vars(parser.parse_args(arguments))
    if given["collections"] is None:
        given["collections"] = QUICK if given["quick"] else COLLECTIONS
    return Settings(**given)


if __name__ == "__main__":
    sys.exit(main())
