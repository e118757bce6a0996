"""What happens to an upload: format, table, audit, blob, row. Runs in a thread; every step works on the disk."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import numpy as np
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from api.dependencies import Services
from api.series.parsing import detect
from api.series.parsing.csv import open_csv
from api.series.parsing.json import read_document, tables_of
from api.series.parsing.npy import open_npy
from api.series.parsing.parquet import open_parquet
from api.series.parsing.recordings import distinct, name_of, naming, of_column
from api.series.parsing.table import Limits, Table, quoted
from api.series.receiving import ReceivedFile, Upload
from api.series.schemas import SeriesFields
from api.series.storing import NpyWriter, Scratch
from api.settings import ApiSettings
from domain.errors import ErrorItem, InvalidParameters, MalformedFile, TooLarge, column_pointer
from domain.series import SeriesSpec
from dynamics.audit import AuditedSeries, Places, RecordingRows, audit
from store import series
from store.tables import SeriesRow

_SNIFFED_BYTES = 4096
_CONTENTS = ("values", "recordings", "recording", "time")  # of a JSON document; the rest are fields
_DATES = {True: "dates", False: "numbers"}
_OPEN = {"csv": open_csv, "npy": open_npy, "parquet": open_parquet}


def ingest(services: Services, tenant: str, upload: Upload, query: dict[str, Any], scratch: Scratch) -> series.Added:
    """Read, audit and store an upload; nothing is left of one that is refused."""
    spec = merge(query, _form_fields(upload.fields))
    limits = limits_of(services.settings)
    tables: list[tuple[str, Table]] = []
    kinds: set[str] = set()
    names = distinct([name_of(file.file_name, i) for i, file in enumerate(upload.files)])
    for name, file in zip(names, upload.files, strict=True):
        with naming(name if len(upload.files) > 1 else ""):
            kind, spec, found = _open(file, spec, limits)
        kinds.add(kind)
        tables += found if len(upload.files) == 1 else [(name, table) for _, table in found]
    table = tables[0][1]
    source = {
        "format": ", ".join(sorted(kinds)),
        "bytes": upload.n_bytes,
        "file_name": _shown(upload.files[0].file_name) if len(upload.files) == 1 else None,
        "time_column": None if table.columns.time is None else table.columns.time_name,
        "recording_column": None if table.columns.recording is None else table.columns.recording_name,
    }
    return keep(services, tenant, tables, spec, source, scratch)


def keep(
    services: Services,
    tenant: str,
    tables: list[tuple[str, Table]],
    spec: SeriesFields,
    source: dict[str, Any],
    scratch: Scratch,
) -> series.Added:
    """Audit tables, one for each recording by its name, and store them as one series, or answer the equal one that is
    there. `source` says where they came from."""
    audited = _read_and_audit(tables, spec, limits_of(services.settings), scratch)
    table = tables[0][1]
    assert isinstance(audited.values, np.memmap)  # written by `scratch`, mapped or allocated
    values_blob = services.blobs.adopt(Path(str(audited.values.filename)))
    with services.database.write() as session:
        return series.add(
            session,
            values=values_blob,
            channels=table.columns.channels,
            dt=audited.dt,
            time_unit=audited.time_unit,
            time_start=audited.time_start,
            spec=SeriesSpec.model_validate(spec.model_dump()),
            profile=audited.profile,
            source=source | table.details,
            tenant=tenant,
        )


def _open(file: ReceivedFile, spec: SeriesFields, limits: Limits) -> tuple[str, SeriesFields, list[tuple[str, Table]]]:
    """The format, the specification with what a JSON document adds to it, and the tables in the file with their names."""
    with file.path.open("rb") as opened:
        head = opened.read(_SNIFFED_BYTES)
    kind = detect.detect(head, file.content_type, file.file_name, spec.format)
    if kind != "json":
        return kind, spec, [("", _OPEN[kind](file.path, spec, limits))]
    document = read_document(file.path, limits)
    parts = {name: document.pop(name) for name in _CONTENTS if name in document}
    spec = merge(spec.model_dump(exclude_unset=True), document)
    return kind, spec, tables_of(parts, spec, limits)


def _read_and_audit(
    tables: list[tuple[str, Table]], spec: SeriesSpec, limits: Limits, scratch: Scratch
) -> AuditedSeries:
    first = tables[0][1]
    columns = first.columns
    values, times = scratch.writer(), scratch.writer()
    recordings: list[RecordingRows] = []
    for name, table in tables:
        _check_alike(name, table, tables[0])
        with naming(name):
            recordings += _read(name, table, values, times, limits)
            if table.dates != first.dates:
                raise MalformedFile(
                    f"Its times are {_DATES[table.dates]}, those of the first recording {_DATES[first.dates]}.",
                    [ErrorItem(pointer=column_pointer(columns.time_name))],
                )
    collection = len(tables) > 1 or first.labels is not None
    audited = audit(
        values.finish(len(columns.channels)),
        times.finish(None) if times.n_rows else None,
        columns.channels,
        spec.model_copy(update={"time_unit": _time_unit(spec, first)}),
        time_column=columns.time_name,
        time_origin=first.origin,
        allocate=scratch.allocate,
        recordings=recordings if collection else (),
    )
    audited.profile.issues[:0] = [issue for _, table in tables for issue in table.issues]
    return audited


def _read(name: str, table: Table, values: NpyWriter, times: NpyWriter, limits: Limits) -> list[RecordingRows]:
    """Append a table; the recordings in it: itself, or those that its column names."""
    start, n_channels = values.n_rows, len(table.columns.channels)
    for time, rows in table.blocks:
        values.append(rows)
        if time is not None:
            times.append(time)
        if values.n_rows > limits.rows:
            raise TooLarge(f"The file has more than {limits.rows} rows: send a part of it, or every n-th row.")
        if values.n_rows * n_channels > limits.values:
            raise TooLarge(f"The file has more than {limits.values} values: send fewer rows or fewer channels.")
    if values.n_rows == start:
        raise MalformedFile("The file has a header, but no rows.")
    if table.labels is None:
        return [RecordingRows(name, start, values.n_rows, table.origin)]
    if name:
        raise MalformedFile(
            "Several files are one recording each; this one has a column of recordings besides. Send one file with all "
            "rows, or files without that column.",
            [ErrorItem(pointer=column_pointer(table.labels.column))],
        )
    return of_column(table.labels, table.origin)


def _check_alike(name: str, table: Table, reference: tuple[str, Table]) -> None:
    """All recordings have the same channels in the same order, and all or none have times, of one unit."""
    other, expected = reference[0], reference[1].columns
    found = table.columns
    if found.channels != expected.channels:
        raise MalformedFile(
            f"Recording {name!r} has the channels {quoted(found.channels)}, recording {other!r} {quoted(expected.channels)}: "
            "all recordings of one series need the same channels in the same order.",
            [ErrorItem(pointer="/channels", recording=name, detail="other channels than the first recording")],
        )
    if (found.time is None, found.time_unit) != (expected.time is None, expected.time_unit):
        raise MalformedFile(
            f"Recordings {other!r} and {name!r} differ in their time column: all need one, in one unit, or none.",
            [ErrorItem(pointer="/time_column", recording=name, detail="another time column than the first recording")],
        )


def _time_unit(spec: SeriesSpec, table: Table) -> str:
    """The caller's; else the one in the time column's name, seconds for dates, steps for a counter without dt."""
    columns = table.columns
    if table.dates:
        if spec.time_unit not in ("", "s"):
            raise InvalidParameters(
                f"A column of dates is read in seconds, not in {spec.time_unit!r}: leave time_unit away.",
                [ErrorItem(pointer="/time_unit", detail="must be s")],
            )
        return "s"
    if spec.time_unit:
        if columns.time_unit not in ("", spec.time_unit):
            detail = f"The column is called {columns.time_name!r}, but time_unit = {spec.time_unit!r} was asked for."
            table.issues.append(Places().issue("time_unit_overridden", "warning", detail, columns.time_name))
        return spec.time_unit
    return columns.time_unit or ("step" if columns.counts_steps and spec.dt is None else "")


def limits_of(settings: ApiSettings) -> Limits:
    """How much a series may hold."""
    return Limits(
        rows=settings.max_upload_rows,
        channels=settings.max_upload_channels,
        values=settings.max_upload_values,
        json_bytes=settings.max_json_bytes,
    )


def _form_fields(fields: dict[str, list[str]]) -> dict[str, Any]:
    """Form fields as the schema wants them; a field left empty, as browsers send it, was not given."""
    given = {name: [text for text in texts if text.strip()] for name, texts in fields.items()}
    for name, texts in given.items():
        if len(texts) > 1 and name != "channels":
            raise InvalidParameters(
                f"The field {name!r} was given {len(texts)} times.", [ErrorItem(pointer=f"/{name}")]
            )
    return {name: texts if name == "channels" else texts[0] for name, texts in given.items() if texts}


def merge(given: dict[str, Any], more: dict[str, Any]) -> SeriesFields:
    """One specification from two places: query and form, or either and the JSON document."""
    first, second = _validated(given), _validated(more)
    for name in first.model_fields_set & second.model_fields_set:
        if getattr(first, name) != getattr(second, name):
            raise InvalidParameters(
                f"{name} is given twice, and differently: {getattr(first, name)!r} and {getattr(second, name)!r}.",
                [ErrorItem(pointer=f"/{name}")],
            )
    return _validated(given | more)


def _validated(fields: dict[str, Any]) -> SeriesFields:
    try:
        return SeriesFields.model_validate(fields)
    except ValidationError as error:
        errors = [{**e, "loc": ("body", *e["loc"])} for e in error.errors()]
        raise RequestValidationError(errors, body=fields) from error


def _shown(file_name: str) -> str | None:
    """The client's name of the file, for people to read; it is never opened."""
    name = "".join(c for c in PurePath(file_name.replace("\\", "/")).name if c.isprintable())
    return name[:200] or None


def etag(row: SeriesRow, variant: str = "") -> str:
    return f'"{row.content_hash[:32]}{variant and "-"}{variant}"'
