"""Numbers, units and scales as figures write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from figures.parts import Axis

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
LETTER = 6.8  # pixels, of text of size 12
MUCH_LARGER = 5.0  # an exponent that dwarfs the largest by this flattens it on a plain scale


def num(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}g}".replace("-", "−")


def with_unit(value: float | None, unit: str | None) -> str:
    return num(value) if not unit or unit == "1" else f"{num(value)} {unit}"


def interval(ci: Sequence[float] | None, level: float | None) -> str:
    """The ends of an interval, with as many digits as tell them apart."""
    if not ci:
        return ""
    digits = next((n for n in range(3, 8) if num(ci[0], n) != num(ci[1], n)), 8)
    return f"{100 * (level or 0.9):.0f} % interval {num(ci[0], digits)} to {num(ci[1], digits)}"


def quantity(found: dict[str, Any], name: str) -> str:
    """`name = value unit (interval)`, or why there is none."""
    if found.get("value") is None:
        return f"{name}: {(found.get('reason') or 'no value').rstrip('.')}"
    said = interval(found.get("ci"), found.get("level"))
    return f"{name} = {with_unit(found['value'], found.get('unit'))}" + (f" ({said})" if said else "")


def sentence(text: str) -> str:
    """A reason as results have it, with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def time_axis(unit: str, **fields: Any) -> Axis:
    return Axis(f"time in {unit}" if unit else "time", **fields)


def rate(unit: str) -> str:
    """Label of an axis of Lyapunov exponents."""
    return f"λ in {unit}" if unit not in ("", "1") else "λ per time unit"


def subscript(number: int) -> str:
    return str(number).translate(_SUBSCRIPTS)


def wrapped(text: str, pixels: float) -> str:
    """As many lines as so many pixels need, of letters of 12 pixels."""
    width = max(20, int(pixels / LETTER))
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + len(word) < width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


@dataclass(frozen=True)
class Scale:
    """Plain where `linear_to` is None, else asinh(v / linear_to): linear near zero, logarithmic far from it."""

    linear_to: float | None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return values if self.linear_to is None else np.asarray(np.arcsinh(values / self.linear_to))

    def axis(self, label: str, values: np.ndarray) -> Axis:
        """An axis for these values (in their own unit), and zero."""
        if self.linear_to is None:
            return Axis(label)
        places = self(np.append(values[np.isfinite(values)], 0.0))
        low, high = float(places.min()), float(places.max())
        pad = 0.06 * (high - low)
        limits = (low - pad, high + pad)
        return Axis(label, limits=limits, ticks=self._ticks(*limits), note="(compressed scale)")

    def _ticks(self, low: float, high: float) -> list[tuple[float, str]]:
        """Zero, and 1, 2, 5 times powers of ten on both sides, as far as they stay apart."""
        assert self.linear_to is not None
        kept, power = [0.0], int(np.floor(np.log10(self.linear_to)))
        sizes = [m * 10.0**p for p in range(power + 7, power - 2, -1) for m in (1, 5, 2)]
        for value in [s * sign for s in sizes for sign in (1, -1)]:
            place = float(self(np.array(value)))
            far = all(abs(place - float(self(np.array(k)))) > 0.11 * (high - low) for k in kept)
            if low <= place <= high and far:
                kept.append(value)
        return [(float(self(np.array(k))), num(k)) for k in sorted(kept)]


def scale_for(values: np.ndarray, leading: float) -> Scale:
    """Compressed where an exponent dwarfs the `leading` ones, so that these can still be told apart."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    leading = abs(leading)
    if leading == 0 or largest <= MUCH_LARGER * leading:
        return Scale(None)
    return Scale(max(leading, largest / 1000))
