"""Training pairs whose query is a sentence taken out of its passage (inverse cloze task, Lee et al. 2019).

    python -m latefold.encoders.training.cloze --out train.jsonl --sentences docs.jsonl:14000 --pairs terms.jsonl:3000
        [--unlike DATA]

Headings are short; people ask in sentences. Each passage of `--sentences` gives the sentence that shares most words
with the rest of it, as a query for that rest, and for every other passage its own query as well. Rows of `--pairs` are
taken as they are. FILE:COUNT takes COUNT of a file's rows, drawn by the seed; the same files give the same bytes.
`--unlike` leaves out what shares words with a judged collection in the folder DATA (`overlap`), before rows are drawn.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from ..errors import InvalidInputError
from .overlap import overlaps, seen_runs

MIN_WORDS = 55
"""Shorter passages lose too much with a sentence."""
SENTENCE_WORDS = (8, 34)
_END = re.compile(r'(?<=[.!?])\s+(?=[A-Z"(])')
_WORD = re.compile(r"[A-Za-z][A-Za-z\-]+")
_FUNCTION_WORDS = frozenset(
    "the a an of and or to in is are be for on with as by that this it from at can which not if will has have was were "
    "but its you your using used use when then than may must".split()
)
Row = dict[str, str]


def take_sentence(passage: str, rng: random.Random) -> tuple[str, str] | None:
    """The sentence to ask with, and the passage without it; None where the passage has none that will do.

    Of the sentences of prose the one that shares the largest part of its words with the others, blurred by `rng` lest
    it always be the most general one.
    """
    sentences = _END.split(passage)
    if len(sentences) < 3 or len(passage.split()) < MIN_WORDS:
        return None
    words = [set(_words(sentence)) - _FUNCTION_WORDS for sentence in sentences]
    best: tuple[float, int] | None = None
    for i, sentence in enumerate(sentences):
        if not _is_prose(sentence) or len(words[i]) < 4:
            continue
        others = set[str]().union(*(bag for j, bag in enumerate(words) if j != i))
        score = len(words[i] & others) / len(words[i]) + 0.3 * rng.random()
        if best is None or score > best[0]:
            best = score, i
    if best is None:
        return None
    return sentences[best[1]], " ".join(sentence for j, sentence in enumerate(sentences) if j != best[1])


def from_sentences(rows: Sequence[Row], most: int, rng: random.Random) -> Iterator[Row]:
    """Pairs from at most `most` passages, in an order drawn by `rng`."""
    order = list(rows)
    rng.shuffle(order)
    taken = 0
    for row in order:
        if taken >= most:
            return
        found = take_sentence(row["passage"], rng)
        if found is None:
            continue
        taken += 1
        sentence, rest = found
        yield {"query": sentence, "passage": rest}
        if rng.random() < 0.5 and len(row["query"].split()) >= 2:
            yield {"query": row["query"], "passage": rest}


def make_pairs(
    sentences: Sequence[tuple[Path, int]],
    pairs: Sequence[tuple[Path, int]],
    exclude: str = "",
    seen: AbstractSet[int] = frozenset(),
    seed: int = 0,
) -> list[Row]:
    """All pairs, shuffled, each once.

    exclude: rows of `pairs` whose `source` contains this are left out. seen: rows with one of these runs of words are.

    Raises `InvalidInputError` naming a file that cannot be read or has too few rows.
    """
    rng = random.Random(seed)  # noqa: S311  # draws rows, keeps no secret
    made: list[Row] = []
    for path, most in sentences:
        made += from_sentences(_unseen(_read(path), seen), most, rng)
    for path, count in pairs:
        wanted = [row for row in _read(path) if not exclude or exclude not in row.get("source", "").lower()]
        rows = _unseen(wanted, seen)
        if len(rows) < count:
            raise InvalidInputError(f"{path} has {len(rows)} rows to draw from; {count} were asked for")
        made += [{"query": row["query"], "passage": row["passage"]} for row in rng.sample(rows, count)]
    rng.shuffle(made)
    return list({(row["query"], row["passage"]): row for row in made}.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m latefold.encoders.training.cloze`."""
    parser = argparse.ArgumentParser(description="Make training pairs of sentences and the passages they come from.")
    parser.add_argument("--sentences", nargs="*", default=[], type=_counted, metavar="FILE:COUNT")
    parser.add_argument("--pairs", nargs="*", default=[], type=_counted, metavar="FILE:COUNT")
    parser.add_argument("--exclude", default="", help="leave out rows of --pairs whose source contains this")
    parser.add_argument("--unlike", type=Path, metavar="DATA", help="folder of judged collections to keep out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON Lines file to write")
    given = parser.parse_args(arguments)
    try:
        seen = seen_runs(given.unlike) if given.unlike else frozenset[int]()
        made = make_pairs(given.sentences, given.pairs, given.exclude, seen, given.seed)
        given.out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    except (InvalidInputError, OSError) as error:
        parser.error(str(error))
    sys.stdout.write(f"{len(made)} pairs written to {given.out}\n")
    return 0


def _counted(text: str) -> tuple[Path, int]:
    name, _, count = text.rpartition(":")
    if not name or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not FILE:COUNT")
    return Path(name), int(count)


def _read(path: Path) -> list[Row]:
    try:
        with path.open(encoding="utf-8") as lines:  # whose ends are line feeds alone, unlike those of `splitlines`
            rows = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read the pairs in {path}: {error}") from error
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("query", "passage")):
            raise InvalidInputError(f"line {number} of {path} is no pair; expected an object with query and passage")
    return rows


def _unseen(rows: Sequence[Row], seen: AbstractSet[int]) -> list[Row]:
    if not seen:
        return list(rows)
    return [row for row in rows if not overlaps(row["query"], seen) and not overlaps(row["passage"], seen)]


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _is_prose(sentence: str) -> bool:
    count, words = len(sentence.split()), _words(sentence)
    letters = sum(map(len, words))
    least, most = SENTENCE_WORDS
    return least <= count <= most and len(words) >= 0.85 * count and letters >= 0.75 * len(sentence.replace(" ", ""))


if __name__ == "__main__":
    raise SystemExit(main())
