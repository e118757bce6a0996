"""Arrays in files while an upload is read: blocks are appended, then mapped, so that memory does not grow with rows."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.lib import format as npy_format

from store.blobs import Blobs

_HEADER_BYTES = 128


class Scratch:
    """Temporary files of one upload, on the disk of the blobs; all are gone when it ends."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def file(self) -> Path:
        return self._stack.enter_context(self._blobs.writing())

    def writer(self) -> NpyWriter:
        return self._stack.enter_context(NpyWriter(self.file()))

    def allocate(self, shape: tuple[int, int]) -> np.memmap:
        """An array in a file of its own, `.filename`."""
        path = self.file()
        values = npy_format.open_memmap(path, mode="w+", dtype=np.float64, shape=shape)
        if hasattr(os, "posix_fallocate"):
            # A page that finds no room when it is written to would kill the process; here it is an error.
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return values


class NpyWriter:
    """Appends float64 rows to a `.npy` file whose length is known only at the end."""

    def __init__(self, path: Path) -> None:
        self.n_rows = 0
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._file.write(bytes(_HEADER_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, dtype=np.float64).data)
        self.n_rows += len(rows)

    def finish(self, n_columns: int | None) -> np.memmap:
        """The rows, (n_rows, n_columns) or (n_rows,) for None, mapped from the finished file."""
        shape = (self.n_rows,) if n_columns is None else (self.n_rows, n_columns)
        self._file.seek(0)
        self._file.write(npy_header(shape))
        self._file.close()
        return npy_format.open_memmap(self._path, mode="r")


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a float64 array in C order: always 128 bytes."""
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": "<f8"})
    header = buffer.getvalue()
    assert len(header) == _HEADER_BYTES, len(header)
    return header
