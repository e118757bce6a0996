"""Colours against their backgrounds (WCAG 2.2) and against each other, also for eyes that lack a cone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from figures.themes import THEMES, Theme, rgb

# Machado, Oliveira & Fernandes 2009, IEEE TVCG 15, 1291: full protanopia, deuteranopia, tritanopia, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(colour: str) -> np.ndarray:
    v = np.array(rgb(colour)) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    light, dark = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(v: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear RGB."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(v, 0, 1)
    f = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_measures_are_the_published_ones() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known grey just below 4.5
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.3)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_everything_stands_out_from_its_background(theme: Theme) -> None:
    assert contrast(theme.text, theme.paper) > 7
    for role, colour in theme.roles.items():
        assert contrast(colour, theme.paper) >= 3, role


@pytest.mark.parametrize("kind", DEFICIENCIES)
@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_colours_stay_apart_for_every_kind_of_eye(theme: Theme, kind: str) -> None:
    seen = {role: lab(np.array(DEFICIENCIES[kind]) @ linear(colour)) for role, colour in theme.roles.items()}
    assert np.linalg.norm(seen["data"] - seen["model"]) > 40
    for a, b in combinations(("data", "model", "third", "fourth"), 2):
        assert np.linalg.norm(seen[a] - seen[b]) > 10, (a, b)
