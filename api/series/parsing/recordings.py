"""Which rows of an upload belong to which recording: a column that names them, or files and lists that are one each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.series.parsing.table import Columns
from domain.errors import ErrorItem, InvalidSeries, MalformedFile, column_pointer
from dynamics.audit import Places, RecordingRows
from dynamics.audit.gaps import MAX_SEGMENTS

_MAX_NAME = 200


class Labels:
    """Reads the column that names the recording of each row, a block at a time."""

    def __init__(self, column: str) -> None:
        self.column = column
        self.starts: list[tuple[str, int]] = []  # a recording and its first row
        self.n_rows = 0
        self._known: set[str] = set()
        self._again = Places()
        self._nameless = Places()

    def add(self, cells: pa.Array) -> None:
        """Labels of the next rows: text or numbers; fails where one has no name, or comes back after another began."""
        text = _as_text(cells)
        empty = pc.equal(text.fill_null(""), "").to_numpy(zero_copy_only=False)
        self._nameless.add(self.n_rows + np.flatnonzero(empty))
        codes = text.dictionary_encode()
        index = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        begins = np.flatnonzero(np.diff(index, prepend=-2))
        for at in begins.tolist():
            self._begin(text[at].as_py() or "", self.n_rows + at)
        self.n_rows += len(text)

    def _begin(self, name: str, row: int) -> None:
        if self.starts and self.starts[-1][0] == name:
            return
        if name in self._known:
            self._again.add(np.array([row]))
        elif len(self.starts) >= MAX_SEGMENTS:
            raise InvalidSeries(f"The column {self.column!r} names more than {MAX_SEGMENTS} recordings.")
        self._known.add(name)
        self.starts.append((name, row))

    def rows(self) -> list[tuple[str, int, int]]:
        """(name, start, stop) of every recording."""
        if self._nameless.total:
            detail = f"{self._nameless.total} rows do not say which recording they belong to."
            raise MalformedFile(
                f"{detail} Fill the column {self.column!r}.", [self._nameless.error_item(self.column, detail)]
            )
        if self._again.total:
            row = self._again.rows[0]
            name = next(n for n, start in self.starts if start == row)
            raise MalformedFile(
                f"Row {row}: recording {name!r} begins again after another one began. Sort the rows by "
                f"{self.column!r}, within each by time.",
                [self._again.error_item(self.column, "a recording that was there before")],
            )
        bad = next(((n, row) for n, row in self.starts if len(n) > _MAX_NAME or not n.isprintable()), None)
        if bad is not None:
            raise MalformedFile(
                f"Row {bad[1]}: the name of a recording must be printable text of at most {_MAX_NAME} characters.",
                [ErrorItem(pointer=column_pointer(self.column), rows=[bad[1]], detail=repr(bad[0][:40]))],
            )
        stops = [row for _, row in self.starts[1:]] + [self.n_rows]
        return [(name, start, stop) for (name, start), stop in zip(self.starts, stops, strict=True)]


def labels_of(columns: Columns) -> Labels | None:
    """A reader of the recording column, if there is one."""
    return None if columns.recording is None else Labels(columns.recording_name)


def _as_text(cells: pa.Array) -> pa.Array:
    """Labels as text: whole numbers without a point, blanks around them off."""
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if pa.types.is_floating(cells.type):
        values = cells.to_numpy(zero_copy_only=False)
        there = np.isfinite(values)
        whole = (values[there] == np.floor(values[there])).all() and (np.abs(values[there]) < 2.0**53).all()
        cells = pa.array(np.where(there, values, 0).astype(np.int64) if whole else values, mask=~there)
    if pa.types.is_binary(cells.type):
        cells = cells.view(pa.string())
    return pc.utf8_trim_whitespace(cells.cast(pa.string()))


def distinct(names: Sequence[str]) -> list[str]:
    """The names, those that are there already with a number behind them: a, b, a becomes a, b, a (2)."""
    found: list[str] = []
    for name in names:
        unlike, count = name, 1
        while unlike in found:
            count += 1
            unlike = f"{name} ({count})"
        found.append(unlike)
    return found


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Refusals inside say which recording they are about; the only one there is has no name."""
    try:
        yield
    except InvalidSeries as error:
        if not name:
            raise
        items = [item.model_copy(update={"recording": name}) for item in error.errors]
        raise type(error)(f"Recording {name[:80]!r}: {error.detail}", items) from error


def name_of(file_name: str, number: int) -> str:
    """A recording that came as a file is called like the file without its ending, or by its number."""
    path = PurePath(file_name.replace("\\", "/"))
    name = "".join(c for c in path.stem if c.isprintable()).strip()
    return name[:_MAX_NAME] or str(number)


def of_column(labels: Labels, origin: float) -> list[RecordingRows]:
    """Recordings that share one file: errors count its rows."""
    return [RecordingRows(name, start, stop, origin, own_rows=False) for name, start, stop in labels.rows()]
