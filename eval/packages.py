"""`python -m latefold.eval.packages`: a collection of real text from the package lists of a Debian-like machine.

A document is a package's name and long description. Its one-line synopsis is not in that text: it serves as a query
whose relevant document is known.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..encoders.base import load_encoder
from ..encoders.errors import InvalidInputError, LatefoldError
from .vectors import Source, stored

_HELPER = Path("/usr/lib/apt/apt-helper")
_ENGLISH = ("-o", "Acquire::Languages=en")
_SEED = 0
_QUERY_HEAD = 20_000  # test queries ask for documents before this one, so that a head of the collection can use them
_MIN_WORDS = 3
DIM = 128
"""Dimensions of the token vectors: as many as the default encoder has, the leading ones of others."""
SETS = ("documents", "queries", "training")


@dataclass(frozen=True)
class Package:
    """One stanza of a package list."""

    name: str
    synopsis: str
    description: str

    @property
    def text(self) -> str:
        """What is indexed: all but the synopsis."""
        return f"{self.name}\n{self.description}"


@dataclass(frozen=True)
class Collection:
    """Documents, test queries, the row of the document that each was written for, and further queries for fitting."""

    documents: Sequence[str]
    queries: Sequence[str]
    relevant: Sequence[int]
    training: Sequence[str]


def collection(documents: int = 50_000, queries: int = 400, training: int = 2_000) -> Collection:
    """The first `documents` packages in an order shuffled with seed 0, and queries drawn from their synopses.

    Packages that share a description count once. Fewer queries come back when there are not enough packages. Raises
    `InvalidInputError` where the machine has no package lists or too few packages.
    """
    packages = _distinct(read_packages())
    if len(packages) < documents:
        raise InvalidInputError(f"the package lists describe {len(packages)} packages; {documents} were asked for")
    chooser = random.Random(_SEED)  # noqa: S311 - a reproducible sample
    chooser.shuffle(packages)
    askable = _askable(packages)
    head = [row for row in askable if row < min(documents, _QUERY_HEAD)]
    asked = sorted(chooser.sample(head, min(queries, len(head) // 2)))
    taken = set(asked)
    rest = [row for row in askable if row not in taken]
    fitted = sorted(chooser.sample(rest, min(training, len(rest))))
    return Collection(
        [package.text for package in packages[:documents]],
        [packages[row].synopsis for row in asked],
        asked,
        [packages[row].synopsis for row in fitted],
    )


def read_packages() -> list[Package]:
    """Every described package of the machine's lists, in English. Raises `InvalidInputError` where there are none."""
    paths = _lists()
    packages = [package for path in paths for package in parse(_run([str(_HELPER), "cat-file", path]))]
    if not packages:
        raise InvalidInputError(f"no package is described in {', '.join(paths)}")
    return packages


def parse(text: str) -> Iterator[Package]:
    """Packages of a `Translation-en` list; stanzas without a long description are left out."""
    for stanza in text.split("\n\n"):
        name, described = "", False
        synopsis, lines = "", list[str]()
        for line in stanza.splitlines():
            if line.startswith(" ") and described:
                lines.append("" if line.strip() == "." else line[1:])
                continue
            key, _, value = line.partition(":")
            name = value.strip() if key == "Package" else name
            described = key == "Description-en"
            synopsis = value.strip() if described else synopsis
        description = "\n".join(lines).strip()
        if name and description:
            yield Package(name, synopsis, description)


def _distinct(packages: Sequence[Package]) -> list[Package]:
    """Sorted, so that the order does not depend on the lists' names, and once per description."""
    found: dict[str, Package] = {}
    for package in sorted(packages, key=lambda p: (p.name, p.description, p.synopsis)):
        found.setdefault(package.description, package)
    return list(found.values())


def _askable(packages: Sequence[Package]) -> list[int]:
    """Rows of packages whose synopsis is a sentence, is no other package's and is not repeated in the description."""
    count: dict[str, int] = {}
    for package in packages:
        count[package.synopsis] = count.get(package.synopsis, 0) + 1
    return [
        row
        for row, package in enumerate(packages)
        if count[package.synopsis] == 1
        and len(package.synopsis.split()) >= _MIN_WORDS
        and package.synopsis.lower() not in package.description.lower()
    ]


def _lists() -> list[str]:
    apt = shutil.which("apt-get")
    if apt is None or not _HELPER.is_file():
        raise InvalidInputError("package descriptions need apt-get and apt-helper, which this machine lacks")
    found = _run([apt, *_ENGLISH, "indextargets", "--format", "$(FILENAME)", "Created-By: Translations"]).split()
    if not found:
        raise InvalidInputError("the package lists lack descriptions: run 'apt-get -o Acquire::Languages=en update'")
    return found


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - fixed programs of the system
    if done.returncode:
        raise InvalidInputError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout.decode("utf-8", errors="replace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the token vectors of a collection; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m latefold.eval.packages", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the vectors; what is there is not redone")
    parser.add_argument("--documents", type=int, default=50_000, help="how many packages (%(default)s)")
    parser.add_argument("--encoder", default="default", help="name or path of an encoder (%(default)s)")
    settings = parser.parse_args(arguments)
    try:
        made = collection(settings.documents)
        encoder = load_encoder(settings.encoder)
        for name, texts in zip(SETS, (made.documents, made.queries, made.training), strict=True):
            source = Source(texts, encoder, min(DIM, encoder.dim), queries=name != SETS[0])
            encoded = stored(settings.out / name, source, _report)
            sys.stdout.write(f"{settings.out / name}: {len(encoded):,} texts, {encoded.tokens:,} vectors\n")
    except LatefoldError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _report(phase: str, done: int, total: int | None) -> None:
    sys.stderr.write(f"\r{phase}: {done:,} of {total:,}" + ("\n" if done == total else ""))


if __name__ == "__main__":
    sys.exit(main())
