"""Colours by role, light and dark.

Hues after Okabe & Ito (2008, "Color Universal Design"), darkened for white and lightened for dark backgrounds until every
one has a contrast of at least 3:1 against its background (WCAG 2.2, 1.4.11; tests compute it). Data are always blue, models
always vermilion: the pair that every kind of colour vision tells apart; dashes and symbols say the same a second time.
"""

from __future__ import annotations

from dataclasses import dataclass

from figures.parts import Role

ThemeName = str  # light or dark


@dataclass(frozen=True)
class Theme:
    paper: str
    grid: str
    text: str
    roles: dict[Role, str]
    cells: tuple[str, str, str]  # from nothing to most


LIGHT = Theme(
    paper="#ffffff",
    grid="#dfe4ea",
    text="#17212b",
    roles={
        "data": "#0072b2",
        "model": "#c44e00",
        "third": "#00795a",
        "fourth": "#a8488a",
        "fifth": "#8a6d00",
        "muted": "#66727d",
        "ink": "#17212b",
    },
    cells=("#ffffff", "#56a6d6", "#08304f"),
)
DARK = Theme(
    paper="#10161d",
    grid="#2d3a47",
    text="#e6ecf2",
    roles={
        "data": "#56b4e9",
        "model": "#ff9a52",
        "third": "#37d6a2",
        "fourth": "#e79ac7",
        "fifth": "#f0e442",
        "muted": "#9fb0c0",
        "ink": "#e6ecf2",
    },
    cells=("#10161d", "#2f86bf", "#e3f3fd"),
)
THEMES: dict[ThemeName, Theme] = {"light": LIGHT, "dark": DARK}


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
