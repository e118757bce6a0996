"""Tables: names that a spreadsheet would run, values that are not there."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet
import pytest

from api.tables import Format, encode, negotiate

COLUMNS = {"=SUM(A1)": np.array([1.0, np.nan]), "y, z": np.array([0.1, 1e-300])}


def test_csv_quotes_formulas_and_leaves_cells_empty() -> None:
    assert encode(COLUMNS, Format.CSV).decode() == '"\'=SUM(A1)","y, z"\n1,0.1\n,1e-300\n'


def test_parquet_has_nulls_and_the_names_as_they_are() -> None:
    table = pyarrow.parquet.read_table(io.BytesIO(encode(COLUMNS, Format.PARQUET)))
    assert table.to_pydict() == {"=SUM(A1)": [1.0, None], "y, z": [0.1, 1e-300]}


def test_npy_has_named_columns() -> None:
    table = np.load(io.BytesIO(encode(COLUMNS, Format.NPY)), allow_pickle=False)
    assert table.dtype.names == ("=SUM(A1)", "y, z")
    assert np.array_equal(table["=SUM(A1)"], [1.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("asked", "accept", "chosen"),
    [
        (None, "*/*", Format.JSON),
        (None, "", Format.JSON),
        (None, "image/png, text/csv;q=0.5", Format.CSV),
        (None, "Application/X-NPY", Format.NPY),
        (Format.PARQUET, "text/csv", Format.PARQUET),
    ],
)
def test_the_query_wins_over_accept(asked: Format | None, accept: str, chosen: Format) -> None:
    assert negotiate(asked, accept) is chosen
