"""How a CSV file is written: its separator, its decimal sign, its header. Decided from the first lines, never guessed
per cell."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from api.series.parsing.table import is_clock_name
from api.series.parsing.text import MISSING
from domain.errors import ErrorItem, MalformedFile

_SEPARATORS = "\t;, "
_SAMPLED_LINES = 100
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity)", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:?\d{2}.*)?")
# What a CSV export puts before a name that a spreadsheet would run as a formula.
_ESCAPED = re.compile(r"'[=+\-@]")


@dataclass(frozen=True)
class Dialect:
    separator: str
    decimal_comma: bool
    header: list[str] | None
    n_columns: int
    offset: int
    """Bytes before the first row of data."""


@dataclass(frozen=True)
class _Line:
    start: int
    stop: int
    cells_of: bytes


def read_dialect(head: bytes, *, whole: bool, max_line_bytes: int) -> Dialect:
    """The dialect of a file that begins with `head`; `whole`: there is nothing after it.

    Lines that begin with # before the data are comments; if no header follows, the last of them is the header when
    it has as many names as there are columns (numpy.savetxt writes it so).
    """
    lines = list(_first_lines(head, whole, max_line_bytes))
    comments = list(takewhile(lambda line: line.cells_of.startswith(b"#"), lines))
    rows = lines[len(comments) :]
    if not rows:
        raise MalformedFile("The file holds no rows." if lines else "The file is empty.")
    first = _decoded(rows[0].cells_of, rows[0].start)
    texts = [first, *(row.cells_of.decode("utf-8", "replace") for row in rows[1:])]
    separator = _separator(texts)
    table = [split(text, separator) for text in texts]
    header = table[0] if is_header(table[0]) else None
    body = table[1:] if header else table
    n_columns = len(table[0])
    if header is None and comments:
        names = split(_decoded(comments[-1].cells_of, 0).lstrip("# "), separator)
        header = names if len(names) == n_columns and is_header(names) else None
        offset = rows[0].start
    else:
        offset = rows[0].stop if header else rows[0].start
    return Dialect(
        separator=separator,
        decimal_comma=_uses_decimal_comma(body),
        header=None if header is None else [_unescaped(name.strip()) for name in header],
        n_columns=n_columns,
        offset=offset,
    )


def _first_lines(head: bytes, whole: bool, max_line_bytes: int) -> Iterator[_Line]:
    """The first complete lines that are not blank."""
    position = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    n_data = 0
    while position < len(head) and n_data < _SAMPLED_LINES:
        match = _LINE.match(head, position)
        assert match is not None
        if match.end() == len(head) and not match[2] and not whole:
            if n_data == 0:
                raise MalformedFile(
                    f"Row {n_data} is longer than {max_line_bytes} bytes: is this a text file with one row a line?",
                    [ErrorItem(rows=[n_data], detail=f"longer than {max_line_bytes} bytes")],
                )
            return
        if match[1].strip():
            n_data += n_data > 0 or not match[1].startswith(b"#")
            yield _Line(position, match.end(), match[1])
        position = match.end()


def _decoded(line: bytes, start: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise MalformedFile(
            f"The text is not UTF-8: byte 0x{line[error.start]:02x} at position {start + error.start}. Save it as UTF-8."
        ) from error


def split(line: str, separator: str) -> list[str]:
    """The cells of one line."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error as error:
        raise MalformedFile(f"The line {line[:60]!r} cannot be split into cells: {error}.") from error


def _separator(lines: Sequence[str]) -> str:
    """The one that splits the most lines into the same number of cells, two at least, and into numbers; else a comma."""

    def agreement(separator: str) -> tuple[int, float, int]:
        rows = [split(line, separator) for line in lines]
        (width, count), *_ = Counter(map(len, rows)).most_common(1)
        cells = [cell.strip() for row in rows for cell in row]
        share = sum(map(_is_value, cells)) / len(cells)
        return (count, share, -_SEPARATORS.index(separator)) if width > 1 else (0, 0.0, 0)

    best = max(_SEPARATORS, key=agreement)
    return best if agreement(best)[0] else ","


def is_header(cells: Sequence[str]) -> bool:
    """Whether the first line names columns: no cell is a number, or a clock stands beside counters: t,0,1,2."""
    stripped = [cell.strip() for cell in cells]
    if any(_is_value(cell) for cell in stripped):
        # A clock, or the blank corner that pandas leaves above its index, beside numbered channels.
        corner, *rest = stripped
        counts = rest and rest[0].isdigit() and rest == [str(int(rest[0]) + i) for i in range(len(rest))]
        return bool(counts) and (corner == "" or is_clock_name(corner))
    return any(cell not in MISSING for cell in stripped)


def _is_value(cell: str) -> bool:
    return any(pattern.fullmatch(cell) for pattern in (_NUMBER, _DECIMAL_COMMA, _DATE))


def _uses_decimal_comma(rows: Sequence[Sequence[str]]) -> bool:
    cells = [cell.strip() for row in rows for cell in row]
    return any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) and not any(
        "." in cell for cell in cells if _NUMBER.fullmatch(cell)
    )


def _unescaped(name: str) -> str:
    return name[1:] if _ESCAPED.match(name) else name
