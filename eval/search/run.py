"""The jobs of this benchmark, in order: what each is, how it is run, and which code its figures depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from ...encoders.errors import LatefoldError
from .. import jobs
from ..corpora import PACKAGES, PACKAGES_FEW, PACKAGES_HEAD, Place
from ..jobs import Keeper, Report, Result, Weighed
from .plan import BRUTE, LATEFOLD, SEARCHED, Plan, version
from .worker import Job

_VECTORS: Final = ("encoders/embeddings.py", "eval/corpora.py", "eval/truth.py", "eval/vectors.py")
_CODECS: Final = ("index/**/*.py", *_VECTORS)
_INDEX: Final = ("index/**/*.py", "retrieval/**/*.py", "encoders/embeddings.py")
_ENGINES: Final = tuple(f"eval/search/{name}.py" for name in "engines loops peers plan scans token_ids whole".split())
_CODE: Final[Mapping[str, tuple[str, ...]]] = {
    "build": (*_INDEX, *_VECTORS, "eval/search/engines.py"),
    "memory": (*_INDEX, *_VECTORS, *_ENGINES),
    "search": (*_INDEX, *_VECTORS, *_ENGINES),
    "kernels": (*_CODECS, *(f"eval/search/{name}.py" for name in ("coding", "kernels", "loops", "scans"))),
    "quality": (*_CODECS, "eval/metrics.py", "eval/beir.py", "eval/search/coding.py", "eval/search/quality.py"),
    "patches": (*_CODECS, *(f"eval/search/{name}.py" for name in ("coding", "quality", "patches"))),
    "prune": (*_CODECS, "retrieval/rerank.py", "eval/search/coding.py", "eval/search/pruning.py"),
}
_PEERS_BUILD: Final = ("eval/search/token_ids.py",)
_KERNEL_DOCUMENTS, _PRUNED_QUERIES = 2_000, 100


def perform(job: Job, place: Place) -> Result:
    """Run one job in a process of its own. Raises `LatefoldError` with its last words when it fails.

    A peer that fails to build is a result: it is absent, with its last words.
    """
    try:
        return jobs.perform(f"{__package__}.worker", job, place)
    except LatefoldError as error:
        if job.task in ("build", "memory") and not job.subject.startswith(LATEFOLD):
            return {"absent": " ".join(str(error).split())[-500:]}
        raise


def run_all(
    weighed: Sequence[Weighed], place: Place, digests: Mapping[str, str], *, fresh: bool, report: Report
) -> list[Result]:
    """Results of jobs, in order; see `Keeper.run_all`."""
    keeper = Keeper(place.cache / "results", lambda job: perform(job, place), code_of, digests)
    return keeper.run_all(weighed, fresh=fresh, report=report)


def code_of(job: Job) -> str:
    """Hash of the code that the figures of a job depend on, with the versions of the packages it needs."""
    names = [*filter(None, [job.subject]), *job.items] if job.task in ("build", "memory", "search") else BRUTE
    versions = " ".join(f"{name} {version(name)}" for name in names)
    if job.task == "build" and not job.subject.startswith(LATEFOLD):
        return f"{_digest(_PEERS_BUILD)} {versions}"
    return f"{_digest(_CODE[job.task])} {versions}"


def home(engine: str, digest: str) -> str:
    """Folder of a built index, relative to the cache, by the engine, its code or version, and the vectors' digest."""
    made = _digest(_CODE["build"] if engine.startswith(LATEFOLD) else _PEERS_BUILD)
    key = hashlib.sha256(f"{digest} {made} {version(engine)}".encode()).hexdigest()[:16]
    return f"search/{''.join(c if c.isalnum() else '-' for c in engine)}-{key}"


@cache
def _digest(patterns: tuple[str, ...]) -> str:
    return jobs.code_digest(jobs.files(*patterns))


def planned(present: Mapping[str, Result], plan: Plan, place: Place) -> list[Weighed]:
    """Every job on the collections that are present, with its weight."""
    searched = [name for name in present if name in SEARCHED]
    judged = [name for name in present if name not in SEARCHED]
    found = _kernels((searched or judged)[-1], plan)
    for name in sorted(searched, key=(PACKAGES_HEAD, PACKAGES, PACKAGES_FEW).index) or judged[:1]:
        found += _whole(name, present[name], plan)
    for name in [PACKAGES_HEAD] if PACKAGES_HEAD in present else (searched or judged)[:1]:
        count = 10 if plan.quick else _PRUNED_QUERIES
        found += [Weighed(Job("prune", name, codec, count=count), 15) for codec in plan.pruned]
    for dim in plan.dims:
        for name in sorted(judged, key=lambda name: int(present[name]["tokens"])):
            items = tuple(plan.ranked(dim))
            weight = 0.015 * len(items) * dim * int(present[name]["tokens"]) / 1e6
            found.append(Weighed(Job("quality", name, dim=dim, items=items, threads=None), weight))
    for name in judged:
        weight = 40 * int(present[name]["tokens"]) / 1e6
        found.append(Weighed(Job("patches", name, dim=plan.dims[0], threads=None), weight))
    return [item for item in found if _possible(item.job, place)]


def _kernels(corpus: str, plan: Plan) -> list[Weighed]:
    rounds, documents = (1, 100) if plan.quick else (5, _KERNEL_DOCUMENTS)
    items = tuple(plan.codecs)
    return [
        Weighed(Job("kernels", corpus, items=items, rounds=rounds, count=documents, threads=threads), 30)
        for threads in (1, 2)
    ]


def _whole(corpus: str, about: Result, plan: Plan) -> list[Weighed]:
    documents, digest = int(about["documents"]) / 1e3, str(about["digest"])
    built, engines = plan.built(corpus), plan.engines(corpus)
    homes = {engine: home(engine, digest) for engine in engines}
    found = [
        Weighed(
            Job("build", corpus, engine, homes=(homes[engine],), threads=None),
            documents * (1.5 if engine.startswith(LATEFOLD) else 18),
        )
        for engine in built
    ]
    memory = engines if corpus != PACKAGES_FEW and not plan.quick else built
    vectors, count = tuple(about["vectors"]), int(about["documents"])
    found += [
        Weighed(Job("memory", corpus, engine, homes=(homes[engine],), vectors=vectors, count=count), 4)
        for engine in memory
    ]
    rounds = {PACKAGES_HEAD: 8, PACKAGES: 4}.get(corpus, 4)
    both = tuple(engines), tuple(homes[engine] for engine in engines)
    depths = (10,) if plan.quick else (10, 100)
    one, two = (1, 1) if plan.quick else (rounds, rounds // 2)
    found.append(Weighed(Job("search", corpus, "", *both, rounds=one, depths=depths), 8 * documents))
    found.append(Weighed(Job("search", corpus, "", *both, rounds=two, depths=(10,), threads=2), 3 * documents))
    return found


def _possible(job: Job, place: Place) -> bool:
    """Quality needs the collection's judgements."""
    return job.task not in ("quality", "patches") or (Path(place.data) / job.corpus / "qrels").is_dir()
