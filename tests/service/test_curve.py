"""The drawing of a recall curve."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from latefold.service.curve import recall_svg

MEASURED = {
    "curve": [(10, 0.5), (100, 0.9), (1000, 1.0)],
    "curve_100": [(10, 0.1), (100, 0.6), (1000, 0.95)],
    "candidates": 100,
    "recall": 0.9,
    "target": 0.9,
    "single": "learned <1408> & more",
    "bytes": 132,
    "documents": 5000,
}


@pytest.mark.parametrize("points", [1, 3])
def test_every_point_lies_on_the_picture_and_higher_recall_is_higher(points):
    measured = MEASURED | {key: MEASURED[key][:points] for key in ("curve", "curve_100")}
    measured["candidates"] = measured["curve"][-1][0]
    root = ET.fromstring(recall_svg(measured))
    circles = [(float(c.get("cx")), float(c.get("cy"))) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(circles) == 2 * points + 1
    assert all(0 <= x <= 640 and 0 <= y <= 400 for x, y in circles)
    heights = [y for _, y in circles[:points]]
    assert heights == sorted(heights, reverse=True)
    assert "learned <1408> & more" in "".join(root.itertext())
