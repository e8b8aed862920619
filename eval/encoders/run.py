"""The jobs of this benchmark, in order: what each is, how it is run, and which code its figures depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Final

from .. import jobs
from ..corpora import Place
from ..jobs import Keeper, Report, Result, Weighed
from .plan import NARROW, Plan, Variant
from .worker import Job

Made = Mapping[str, Mapping[str, Result]]
"""By encoder and collection, what is known of the vectors there."""
_OWN: Final = ("eval/encoders/collection.py", "eval/beir.py", "eval/metrics.py", "eval/truth.py", "eval/vectors.py")
_RANKED: Final = (*_OWN, "eval/encoders/ranking.py", "encoders/pooling/*.py", "index/tokens/l*.py", "index/lvq.py")
_CODE: Final[Mapping[str, tuple[str, ...]]] = {
    "bm25": (*_OWN, "eval/yardsticks.py"),
    "rank": (*_RANKED, "index/kernels/*.py", "eval/yardsticks.py"),
    "exact": (*_RANKED, "index/kernels/*.py", "eval/search/scans.py", "eval/search/loops.py"),
    "fold": (*_RANKED, "index/kernels/*.py", "index/encodings/*.py", "eval/encoders/folding.py"),
    "speed": ("encoders/*.py", "encoders/pooling/*.py", "eval/encoders/speed.py"),
}
_ROUNDS, _QUICK_ROUNDS = 9, 1


def perform(job: Job, place: Place) -> Result:
    """Run one job in a process of its own. Raises `LatefoldError` with its last words when it fails."""
    return jobs.perform(f"{__package__}.worker", job, place)


def run_all(
    weighed: Sequence[Weighed], place: Place, digests: Mapping[str, str], *, fresh: bool, report: Report
) -> list[Result]:
    """Results of jobs, in order; see `Keeper.run_all`."""
    keeper = Keeper(place.cache / "results", lambda job: perform(job, place), code_of, digests)
    return keeper.run_all(weighed, fresh=fresh, report=report)


def code_of(job: Job) -> str:
    """Hash of the code that the figures of a job depend on."""
    return _digest(_CODE[job.task])


@cache
def _digest(patterns: tuple[str, ...]) -> str:
    return jobs.code_digest(jobs.files(*patterns))


def encode_all(
    encoders: Sequence[str], collections: Sequence[str], place: Place, say: Callable[[str], None]
) -> tuple[Made, Mapping[str, str]]:
    """Vectors of each encoder on each collection, and why some encoders have none."""
    made: dict[str, dict[str, Result]] = {}
    absent: dict[str, str] = {}
    for name in encoders:
        found: dict[str, Result] = {}
        for corpus in collections:
            job = Job("encode", corpus, name)
            say(job.label)
            result = perform(job, place)
            if "absent" in result:
                absent[name] = str(result["absent"])
                say(f"{job.subject} is left out: {absent[name]}")
                break
            found[corpus] = result
        else:
            made[name] = found
    return made, absent


def planned(plan: Plan, collections: Sequence[str], made: Made) -> list[Weighed]:
    """Every job, with its weight."""
    found = [Weighed(Job("bm25", corpus), 3) for corpus in collections]
    for name, known in made.items():
        for corpus in collections:
            found += _measured(plan, name, corpus, known[corpus])
    if made:
        largest = max(collections, key=lambda corpus: _size(made, corpus))
        found = [item for item in found if item.job.task != "exact" or item.job.corpus != largest or plan.quick]
        smallest = min(collections, key=lambda corpus: _size(made, corpus))
        models = tuple(str(known[smallest]["model"]) for known in made.values())
        rounds = _QUICK_ROUNDS if plan.quick else _ROUNDS
        found.append(Weighed(Job("speed", smallest, items=tuple(plan.timed), models=models, rounds=rounds), 60))
    return found


def _measured(plan: Plan, name: str, corpus: str, about: Result) -> list[Weighed]:
    """The jobs of one encoder on one collection."""
    dim, vectors, millions = int(about["dim"]), str(about["vectors"]), int(about["tokens"]) / 1e6
    ranked, folded = plan.variants(name, dim), plan.folded(name, dim)
    few = [variant for variant in ranked if variant.method == "tokens" and variant.dim >= min(dim, NARROW)]

    def job(task: str, variants: Sequence[Variant], seconds: float) -> Weighed:
        items = tuple(map(str, variants))
        return Weighed(Job(task, corpus, name, vectors, items), len(items) * millions * seconds)  # type: ignore[arg-type]

    return [job("rank", ranked, 15), job("exact", few, 60), job("fold", folded, 40)]


def _size(made: Made, corpus: str) -> int:
    return int(next(iter(made.values()))[corpus]["tokens"])
