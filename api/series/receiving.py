"""A request's body onto the disk, piece by piece: it is never whole in memory, and a file name is never a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from api.series.parsing.detect import check_content_type
from domain.errors import BadRequest, ErrorItem, InvalidParameters, TooLarge, UnsupportedFormat

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PIECE = 1 << 20
_MAX_FIELDS = 50
MAX_FILES = 1000  # recordings of one form
_MAX_FIELD_BYTES = 1 << 18


@dataclass
class ReceivedFile:
    path: Path
    content_type: str = ""
    file_name: str = ""


@dataclass
class Upload:
    """What came: one file, or several that are one recording each, and the text fields beside them."""

    files: list[ReceivedFile] = field(default_factory=list)
    n_bytes: int = 0
    fields: dict[str, list[str]] = field(default_factory=dict)


async def receive(request: Request, new_path: Callable[[], Path], max_bytes: int) -> Upload:
    """Write the body, or each part `file` of a multipart form, to a `new_path`; stops reading at the limit of all together."""
    media_type, options = parse_options_header(request.headers.get("content-type", ""))
    kind = media_type.decode("latin-1").lower()
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedFormat(f"Content-Encoding {encoding[:40]!r} is not accepted: send the file as it is.")
    if kind != "multipart/form-data":
        check_content_type(kind)
    _check_length(request, max_bytes)
    upload = Upload()
    sink = _Sink(max_bytes)
    try:
        if kind == "multipart/form-data":
            await _receive_form(request, options.get(b"boundary"), upload, sink, new_path)
        else:
            upload.files.append(ReceivedFile(new_path(), kind))
            sink.open(upload.files[0].path)
            await _receive_body(request, sink)
        await sink.flush()
    except ClientDisconnect as error:
        # Nobody reads this answer; it is no bug of ours either.
        raise BadRequest("The connection was closed before the upload was whole.") from error
    finally:
        sink.close()
    upload.n_bytes = sink.n_bytes
    return upload


def _check_length(request: Request, max_bytes: int) -> None:
    """Refuse by Content-Length before anything is read; forms may need a little more than their file."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes + _MAX_FIELDS * _MAX_FIELD_BYTES:
        raise _too_large(max_bytes)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The upload is larger than {max_bytes} bytes: send fewer rows or channels, or a denser format (NPY, Parquet)."
    )


class _Sink:
    """Collects a megabyte, then writes it in a thread, so that a slow disk does not stop other requests."""

    def __init__(self, max_bytes: int) -> None:
        self.n_bytes = 0
        self._max_bytes = max_bytes
        self._full: list[tuple[Path, bytearray]] = []
        self._path: Path | None = None
        self._buffer = bytearray()
        self._file: BinaryIO | None = None
        self._written: Path | None = None

    def open(self, path: Path) -> None:
        """What is added from now on belongs into this file."""
        if self._path is not None:
            self._full.append((self._path, self._buffer))
        self._path, self._buffer = path, bytearray()

    def add(self, piece: bytes) -> None:
        self.n_bytes += len(piece)
        if self.n_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        self._buffer += piece

    async def flush_if_full(self) -> None:
        if self._full or len(self._buffer) >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        if self._path is not None:
            full, self._full = [*self._full, (self._path, self._buffer)], []
            self._buffer = bytearray()
            await run_in_threadpool(self._write, full)

    def _write(self, full: list[tuple[Path, bytearray]]) -> None:
        for path, piece in full:
            if path != self._written:
                self.close()
                self._file, self._written = path.open("wb"), path
            assert self._file is not None
            self._file.write(piece)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


async def _receive_body(request: Request, sink: _Sink) -> None:
    async for piece in request.stream():
        sink.add(piece)
        await sink.flush_if_full()


async def _receive_form(
    request: Request, boundary: bytes | None, upload: Upload, sink: _Sink, new_path: Callable[[], Path]
) -> None:
    if not boundary:
        raise BadRequest("Content-Type multipart/form-data must name its boundary.")
    form = _Form(upload, sink, new_path)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for piece in request.stream():
            parser.write(piece)
            await sink.flush_if_full()
        parser.finalize()
    except FormParserError as error:
        raise BadRequest(f"The multipart body is malformed: {error}.") from error
    if not form.ended:
        raise BadRequest("The multipart body ends before its closing boundary: it was cut off.")
    if not upload.files:
        raise InvalidParameters(
            "The form has no part `file` with a file in it.", [ErrorItem(pointer="/file", detail="is required")]
        )


class _Form:
    """Takes the events of the multipart parser; parts named `file` go to the sink, the others are text."""

    def __init__(self, upload: Upload, sink: _Sink, new_path: Callable[[], Path]) -> None:
        self.ended = False
        self._upload = upload
        self._sink = sink
        self._new_path = new_path
        self._header = (b"", b"")
        self._headers: dict[bytes, bytes] = {}
        self._name: str | None = None
        self._text = bytearray()
        self._n_fields = 0

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._headers, self._header, self._text = {}, (b"", b""), bytearray()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _header_end(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = (b"", b"")

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"name" not in options:
            raise BadRequest("A part of the multipart body has no name.")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise BadRequest("Content-Transfer-Encoding is not accepted: send the file as it is.")
        self._name = options[b"name"].decode("utf-8", "replace")
        if self._name != "file":
            self._n_fields += 1
            if self._n_fields > _MAX_FIELDS:
                raise BadRequest(f"The form has more than {_MAX_FIELDS} fields besides its files.")
            return
        if len(self._upload.files) >= MAX_FILES:
            raise BadRequest(
                f"The form has more than {MAX_FILES} parts `file`: send one file with a column that names the recording."
            )
        kind, _ = parse_options_header(self._headers.get(b"content-type", b""))
        received = ReceivedFile(
            self._new_path(),
            kind.decode("latin-1").lower(),
            options.get(b"filename", b"").decode("utf-8", "replace"),
        )
        self._upload.files.append(received)
        self._sink.open(received.path)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file":
            self._sink.add(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise TooLarge(f"The form field {self._name!r} is larger than {_MAX_FIELD_BYTES} bytes.")

    def _part_end(self) -> None:
        if self._name is not None and self._name != "file":
            try:
                text = self._text.decode()
            except UnicodeDecodeError as error:
                raise BadRequest(f"The form field {self._name[:80]!r} is not UTF-8.") from error
            self._upload.fields.setdefault(self._name, []).append(text)

    def _end(self) -> None:
        self.ended = True
