"""Makes the training pairs of the bundled encoder again, from the packages and files that its `data.json` names.

Every file made on the way is compared with the checksum in the manifest, so that what comes out is what the encoder was
trained on, or an error says which source differs. Packages are unpacked by dpkg-deb; they are not installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError, StorageError
from . import cloze, corpora

_PACKAGE = re.compile(r"(?P<name>[a-z0-9][a-z0-9.+-]+)==(?P<version>\S+) \(Debian\b")
ONTOLOGY, GO_PACKAGE, GO_FILE = "go.jsonl", "r-bioc-go.db", "GO.sqlite"
_TERMS = """
SELECT go_id, term, definition FROM go_term
WHERE ontology != 'obsolete' AND definition IS NOT NULL ORDER BY go_id
"""
TERM_WORDS, DEFINITION_WORDS = 2, 12
"""Terms and definitions of fewer words are left out."""


def packages(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Name and version of each package that sources come from, and of those that only take repeated rows away."""
    found = dict(manifest.get("read_as_well", {}))
    for file in manifest["files"].values():
        for source in file.get("sources", {}).values():
            match = _PACKAGE.match(source["from"])
            if match:
                found[match["name"]] = match["version"]
    return dict(sorted(found.items()))


def find_packages(wanted: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The `.deb` file of each package. Raises `InvalidInputError` that says how to get those which are missing."""
    found = {
        name: sorted(folder.glob(f"{name}_{version.replace(':', '%3a')}_*.deb")) for name, version in wanted.items()
    }
    missing = [f"{name}={version}" for name, version in wanted.items() if not found[name]]
    if missing:
        raise InvalidInputError(
            f"{folder} lacks {len(missing)} of {len(wanted)} packages; there: apt-get download {' '.join(missing)}"
        )
    return {name: paths[0] for name, paths in found.items()}


def unpack(package: Path, folder: Path) -> Path:
    """The files of a package, below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    run("dpkg-deb", "-x", str(package), str(folder))
    return folder


def run(program: str, *arguments: str) -> bytes:
    """What a program prints. Raises `StorageError` where it is not installed and when it fails."""
    path = shutil.which(program)
    if path is None:
        raise StorageError(None, f"{program} is not installed; the pairs cannot be made without it")
    done = subprocess.run([path, *arguments], capture_output=True, check=False)  # noqa: S603  # a list, no shell
    if done.returncode:
        raise StorageError(None, f"{program} {' '.join(arguments)} fails: {done.stderr.decode(errors='replace')[:500]}")
    return done.stdout


def gather(manifest: Mapping[str, Any], debs: Path, data: Path, out: Path) -> Path:
    """Write every file of the manifest to `out`, and the pairs made of them; returns the path of the pairs.

    debs: folder of `.deb` files. data: folder of judged collections, which the pairs must not resemble, and of the
    files in `train` that are taken as they are. Raises `InvalidInputError` when a file differs from the manifest.
    """
    found = find_packages(packages(manifest), debs)
    out.mkdir(parents=True, exist_ok=True)
    folders = {name: unpack(path, out / "unpacked" / name) for name, path in found.items()}
    ontology = folders.pop(GO_PACKAGE, None)
    corpora.build([folder.absolute() for folder in folders.values()], out / "pairs", {})
    for name, file in manifest["files"].items():
        target = out / name
        if name == ONTOLOGY and ontology is not None:
            target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in terms(ontology)), "utf-8")
        elif (data / "train" / name).is_file():
            shutil.copyfile(data / "train" / name, target)
        else:
            parts = (_rows(out / "pairs" / f"{part}.jsonl", s["rows"]) for part, s in sorted(file["sources"].items()))
            target.write_bytes(b"".join(parts))
        require(target, file["sha256"])
    made = out / "train.jsonl"
    arguments = shlex.split(manifest["made_by"].partition("--sentences")[2])
    files = [word if word.startswith("--") else str(out / word) for word in arguments if word != "DATA"]
    cloze.main(["--out", str(made), "--sentences", *files, str(data)])
    require(made, manifest["train.jsonl"]["sha256"])
    return made


def terms(folder: Path) -> list[dict[str, str]]:
    """Name and definition of each living term of the Gene Ontology, in the order of their ids, as pairs."""
    (file,) = folder.rglob(GO_FILE)
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as database:
        found = database.execute(_TERMS).fetchall()
    return [
        {"query": term, "passage": definition, "id": name, "source": "go"}
        for name, term, definition in found
        if len(term.split()) >= TERM_WORDS and len(definition.split()) >= DEFINITION_WORDS
    ]


def require(file: Path, checksum: str) -> None:
    """Raise `InvalidInputError` when a file has another SHA-256."""
    got = hashlib.sha256(file.read_bytes()).hexdigest()
    if got != checksum:
        raise InvalidInputError(f"{file} has the checksum {got}, the manifest says {checksum}; a source of it differs")


def _rows(file: Path, count: int) -> bytes:
    """The lines of a file; where it has more than `count`, so many of them, drawn by shuf from constant bytes."""
    content = file.read_bytes()
    if content.count(b"\n") <= count:
        return content
    constant = file.with_suffix(".random")
    constant.write_bytes(b"y\n" * (1 << 19))
    return run("shuf", "-n", str(count), f"--random-source={constant}", str(file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.encoders.training.gather`."""
    parser = argparse.ArgumentParser(description="Make the training pairs of the bundled encoder again.")
    parser.add_argument("manifest", type=Path, help="data.json of the encoder")
    parser.add_argument("--packages", type=Path, required=True, metavar="DEBS", help="folder of .deb files")
    parser.add_argument("--data", type=Path, required=True, help="folder of judged collections, and train/ in it")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    given = parser.parse_args(arguments)
    try:
        manifest = json.loads(given.manifest.read_text(encoding="utf-8"))
        made = gather(manifest, given.packages, given.data, given.out)
    except (InvalidInputError, OSError, ValueError, KeyError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{made}: as the manifest says\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
