"""Which format an upload has: told by its first bytes, which do not lie; by what the caller says only for text."""

from __future__ import annotations

from typing import Literal

from domain.errors import ErrorItem, MalformedFile, UnsupportedFormat

Format = Literal["csv", "npy", "parquet", "json"]

_BINARY: tuple[tuple[bytes, Format], ...] = ((b"\x93NUMPY", "npy"), (b"PAR1", "parquet"))
_REFUSED = (
    (b"PK\x03\x04", "a ZIP archive (.npz, .xlsx, .pt, ...)", "unpack it; save a single array with numpy.save"),
    (b"PK\x05\x06", "an empty ZIP archive", "send the file itself"),
    (b"\x1f\x8b", "gzip-compressed", "decompress it"),
    (b"BZh", "bzip2-compressed", "decompress it"),
    (b"\xfd7zXZ", "xz-compressed", "decompress it"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed", "decompress it"),
    (b"\x89HDF", "HDF5", "save the array with numpy.save, or the table as Parquet"),
    (b"MATLAB", "a MATLAB file", "save the matrix with writematrix as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save the sheet as CSV"),
    (b"ARROW1", "an Arrow file", "save it as Parquet"),
    (b"%PDF", "a PDF", "save the numbers as CSV"),
    (b"\x89PNG", "a picture", "save the numbers as CSV"),
    (b"\xff\xd8\xff", "a picture", "save the numbers as CSV"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
)
_FOUR = "CSV, NPY, Parquet and JSON are accepted"
_CONTENT_TYPES: dict[str, Format | None] = {
    "": None,
    "application/octet-stream": None,
    "binary/octet-stream": None,
    "text/plain": None,
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/csv": "csv",
    "application/vnd.ms-excel": "csv",  # what browsers on Windows call a .csv
    "application/json": "json",
    "application/x-npy": "npy",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
}
_SUFFIXES: dict[str, Format] = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "dat": "csv",
    "json": "json",
    "npy": "npy",
    "parquet": "parquet",
}


def detect(head: bytes, content_type: str, file_name: str, asked: Format | None) -> Format:
    """The format of a file that begins with `head`; 415 for anything that is not accepted."""
    if not head:
        raise MalformedFile("The file is empty.", [ErrorItem(pointer="/file", detail="has no bytes")])
    found = next((kind for magic, kind in _BINARY if head.startswith(magic)), None)
    if found is None:
        _refuse_binary(head)
    said = asked or _from_names(content_type, file_name)
    if found is None and said is None:
        return "json" if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") else "csv"
    if found is None and said in ("npy", "parquet"):
        raise MalformedFile(f"The upload is called {said}, but it does not begin as such a file does: {head[:8]!r}.")
    if found is not None and asked not in (None, found):
        raise UnsupportedFormat(f"format says {asked}, but the file is {found}: leave `format` away.")
    return found or said or "csv"


def check_content_type(content_type: str) -> None:
    """415 for a body whose declared type is none that a series may have."""
    if content_type not in _CONTENT_TYPES:
        hint = (
            ' curl says so unless told otherwise: add -H "Content-Type: text/csv", or send a form with -F file=@...'
            if content_type == "application/x-www-form-urlencoded"
            else ""
        )
        raise UnsupportedFormat(f"Content-Type {content_type[:80]!r} is not accepted: {_FOUR}.{hint}")


def _from_names(content_type: str, file_name: str) -> Format | None:
    suffix = file_name.rpartition(".")[2].lower()
    return _SUFFIXES.get(suffix) or _CONTENT_TYPES.get(content_type)


def _refuse_binary(head: bytes) -> None:
    for magic, what, advice in _REFUSED:
        if head.startswith(magic):
            raise UnsupportedFormat(f"The file is {what}; {_FOUR}: {advice}.")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        raise UnsupportedFormat(f"The file is a Python pickle, which is never loaded; {_FOUR}: use numpy.save.")
    if b"\x00" in head:
        raise UnsupportedFormat(f"The file is binary (it holds NUL bytes) and of no known format; {_FOUR}.")
