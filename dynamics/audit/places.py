"""Rows that need naming, and a way through arrays that may be larger than the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from domain.errors import MAX_ROWS, ErrorItem, column_pointer
from domain.series import SeriesIssue

BLOCK_VALUES = 1 << 19
Allocate = Callable[[tuple[int, int]], np.ndarray]
"""Makes an uninitialised float64 array of this shape: in memory, or in a file where memory is bounded."""


@dataclass
class Places:
    """The first rows at which something was found, and how many there are in all."""

    rows: list[int] = field(default_factory=list)
    total: int = 0

    def add(self, rows: np.ndarray) -> None:
        self.total += len(rows)
        self.rows += rows[: MAX_ROWS - len(self.rows)].tolist()

    def error_item(self, column: str, detail: str) -> ErrorItem:
        return ErrorItem(pointer=column_pointer(column), rows=self.rows, detail=detail)

    def issue(self, code: str, severity: str, detail: str, column: str | None = None) -> SeriesIssue:
        pointer = None if column is None else column_pointer(column)
        return SeriesIssue.model_validate(
            {
                "code": code,
                "severity": severity,
                "detail": detail,
                "pointer": pointer,
                "rows": self.rows,
                "n_rows": self.total,
            }
        )


def blocks(n_rows: int, n_columns: int = 1) -> Iterator[slice]:
    """Consecutive row ranges of about BLOCK_VALUES values each."""
    size = max(1, BLOCK_VALUES // max(1, n_columns))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Starts and stops of the runs of True in a boolean vector."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return edges[::2], edges[1::2]
