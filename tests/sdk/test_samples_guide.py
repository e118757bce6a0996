"""The guide to the samples, run against a real service."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from serving import serving

from dynamics.samples import SAMPLES

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "samples.md"


@pytest.mark.e2e
def test_the_blocks_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    with serving(tmp_path) as service:
        monkeypatch.setenv("ATTRACTOR_URL", service.url)
        for block in blocks:
            exec(compile(block, str(GUIDE), "exec"), names)
    analysis, error = names["analysis"], names["error"]
    assert analysis.verdict.kind == "chaotic"  # type: ignore[attr-defined]
    assert analysis.lambda_max.value == pytest.approx(0.41922, rel=0.05)  # type: ignore[attr-defined]
    assert isinstance(error, np.ndarray)
    assert error[0].max() < 0.1  # the last row of the series has noise of 1 %, the first forecast a little more


def test_the_table_of_the_guide_is_the_gallery() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|(.*)\|$", GUIDE.read_text(), re.MULTILINE)
    assert [name for name, _ in rows] == list(SAMPLES)
    for name, row in rows:
        cells = [cell.strip() for cell in row.split("|")]
        sample = SAMPLES[name]
        dt, unit = cells[3].split()
        assert (float(dt), unit) == (sample.dt, sample.time_unit)
        assert float(cells[4].split()[0]) == 100 * sample.noise
        assert float(cells[5].split()[0]) == sample.known.exponents[0]
