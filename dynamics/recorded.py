"""What was recorded of a system: a series, and series beside it that hold external inputs or nuisance. numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.errors import ErrorItem, InvalidParameters
from domain.results import ForecastStart
from domain.series import Segment

Table = tuple[Sequence[str], Sequence[Segment], np.ndarray]  # channels, runs without a gap, values (T, N)


class Recorded:
    """Channels by name, whichever series holds them; row t of all of them is of the same time."""

    def __init__(self, tables: Sequence[Table]) -> None:
        """The first is the series itself, with whose rows the others' begin."""
        self.segments = tables[0][1]
        self._tables = tables
        self._places: dict[str, tuple[int, int]] = {}  # name -> series, column
        for k, (channels, _, _) in enumerate(tables):
            for column, name in enumerate(channels):
                self._places.setdefault(name, (k, column))

    def lacks(self, names: Sequence[str]) -> str | None:
        """The first of the names that no series has."""
        return next((name for name in names if name not in self._places), None)

    def rows(self, chosen: slice, names: Sequence[str]) -> np.ndarray:
        """(n, len(names)) float64, with NaN where a value is missing."""
        found = np.empty((chosen.stop - chosen.start, len(names)))
        for k, (_, _, table) in enumerate(self._tables):
            at = [i for i, name in enumerate(names) if self._places[name][0] == k]
            if at:
                found[:, at] = table[chosen][:, [self._places[names[i]][1] for i in at]]
        return found

    def past(self, chosen: slice, names: Sequence[str]) -> np.ndarray:
        """The same of rows that must all be there. Raises InvalidParameters for a missing value."""
        found = self.rows(chosen, names)
        if not np.isfinite(found).all():
            row, column = (int(i) for i in np.argwhere(~np.isfinite(found))[0])
            detail = f"The value of {names[column]} in row {chosen.start + row}, before the start of the forecast, is missing."
            raise InvalidParameters(
                detail, [ErrorItem(pointer="/start_index", rows=[chosen.start + row], detail=detail)]
            )
        return found

    def onwards(self, start: ForecastStart, n_steps: int, names: Sequence[str]) -> np.ndarray:
        """From a forecast's start on, up to the next gap of a series that holds one of the names: (R, len(names)), R <= n_steps."""
        holding = {self._places[name][0] for name in names}
        spans = [recorded_from(self._tables[k][1], start, n_steps) for k in holding]
        return self.rows(slice(spans[0].start, min(span.stop for span in spans)), names)


def recorded_from(segments: Sequence[Segment], start: ForecastStart, n_steps: int) -> slice:
    """Rows of a stored series from a forecast's start to the end of its segment: what is known of the inputs in it.

    A forecast that starts where one segment ends and the next begins belongs to the first, whose rows lead to it.
    """
    assert start.index is not None
    stop = next((s.stop for s in segments if s.start < start.index <= s.stop), start.index)
    return slice(start.index, min(stop, start.index + n_steps))
