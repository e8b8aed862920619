"""Memory while building: bounded by the batch, not by the index."""

from __future__ import annotations

from pathlib import Path

import pytest
from zygote import Zygote

MIB = 1 << 10  # in KiB, as the operating system counts


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_building_from_a_generator_of_batches(zygote: Zygote, tmp_path: Path) -> None:
    (report,) = zygote.run("build", path=tmp_path / "index", documents=20_000, tokens=16, dim=64, batch=500)
    assert report["documents"] == 20_000
    assert report["most_kib"] - report["before_kib"] < 100 * MIB, report
    assert report["peak_kib"] - report["before_kib"] < report["stored_kib"] + 200 * MIB, report
