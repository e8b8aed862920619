"""The process that the OCR engine `rapidocr` runs in, so that it can be limited, ended and replaced.

Run as `python -P -m latefold.ingest.ocr_worker BYTES` with the memory that it may use. It says `{"ready": name}` or
`{"error"}` when the models are loaded. Requests come on standard input: a JSON line `{"shape", "seconds"}` and then the
bytes of an RGB image. Answers go to standard output, a JSON line each: `{"lines"}`, a list of lines, each a list of
words `[text, left, top, right, bottom, confidence]` in pixels; or `{"error"}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..encoders.pages import Pixels
from .limits import limit_memory, limit_time

_DETECTOR: Final = "PP-OCRv6_det_small.onnx"
_RECOGNIZER: Final = "PP-OCRv6_rec_small.onnx"
_DETECTION_SIDE: Final = 1280
"""Pixels of the longer side that lines are looked for at; they are read at full resolution."""
_MAX_SIDE: Final = 2600
_WordRow = list[Any]


def main() -> None:
    """Answer requests until standard input ends."""
    limit_memory(int(sys.argv[1]))
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not end up between the answers

    def say(answer: dict[str, Any]) -> None:
        channel.write(json.dumps(answer) + "\n")
        channel.flush()

    try:
        engine = _engine()
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        say({"error": f"it does not start: {error!r:.300}"})
        return
    say({"ready": f"rapidocr {version('rapidocr')}"})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        limit_time(request["seconds"])
        say(_answer(engine, request["shape"]))


def _engine() -> Callable[[Pixels], Any]:
    """The engine on one thread, with the models of the package, so that it never looks for any elsewhere."""
    import cv2
    import rapidocr

    cv2.setNumThreads(1)
    models = Path(rapidocr.__file__).parent / "models"
    runtime = "EngineConfig.onnxruntime"
    engine: Callable[[Pixels], Any] = rapidocr.RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.max_side_len": _MAX_SIDE,
            "Global.return_word_box": True,
            "Global.return_single_char_box": True,
            "Global.log_level": "error",
            "Det.model_path": str(models / _DETECTOR),
            "Det.limit_type": "max",
            "Det.limit_side_len": _DETECTION_SIDE,
            "Rec.rec_batch_num": 1,  # lines of a batch are padded to the longest, which costs more than batches save
            "Rec.model_path": str(models / _RECOGNIZER),
            f"{runtime}.intra_op_num_threads": 1,
            f"{runtime}.inter_op_num_threads": 1,
        }
    )
    engine(np.full((64, 64, 3), 255, np.uint8))  # models are loaded when they are first used
    return engine


def _answer(engine: Callable[[Pixels], Any], shape: list[int]) -> dict[str, Any]:
    size = shape[0] * shape[1] * 3
    image = np.frombuffer(sys.stdin.buffer.read(size), np.uint8).reshape(shape[0], shape[1], 3)
    try:
        found = engine(np.ascontiguousarray(image[:, :, ::-1]))  # blue, green, red
        return {"lines": list(_lines(found))}
    except MemoryError:
        return {"error": "it takes more memory than allowed"}
    except Exception as error:  # noqa: BLE001 - the border of the process: libraries raise anything on hostile images
        return {"error": f"{error!r:.200}"}


def _lines(found: Any) -> Iterator[list[_WordRow]]:
    if not found.txts:
        return
    texts = found.txts
    characters = found.word_results if len(found.word_results) == len(texts) else [()] * len(texts)
    for text, score, corners, line in zip(texts, found.scores, found.boxes, characters, strict=True):
        yield _words(text, float(score), np.asarray(corners, np.float64), line)


def _words(text: str, score: float, corners: Any, characters: Any) -> list[_WordRow]:
    """The words of a line, each as wide as its characters; they share the line's confidence."""
    words = text.split()
    boxes = [np.asarray(box, np.float64) for _, _, box in characters]
    if len(boxes) != sum(map(len, words)):
        boxes = _evenly(corners, len(text))
        boxes = [box for box, character in zip(boxes, text, strict=True) if not character.isspace()]
    rows = []
    start = 0
    for word in words:
        points = np.concatenate(boxes[start : start + len(word)])
        rows.append([word, *points.min(axis=0).tolist(), *points.max(axis=0).tolist(), score])
        start += len(word)
    return rows


def _evenly(corners: Any, count: int) -> list[Any]:
    """A line's box, cut into so many equal parts from left to right."""
    left_top, right_top, right_bottom, left_bottom = corners
    steps = np.linspace(0, 1, count + 1)[:, None]
    upper, lower = left_top + steps * (right_top - left_top), left_bottom + steps * (right_bottom - left_bottom)
    return [np.stack([upper[i], upper[i + 1], lower[i + 1], lower[i]]) for i in range(count)]


if __name__ == "__main__":
    main()
