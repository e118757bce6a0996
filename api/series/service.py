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
from api.series.parsing.json import open_json, read_document
from api.series.parsing.npy import open_npy
from api.series.parsing.parquet import open_parquet
from api.series.parsing.table import Limits, Table
from api.series.receiving import Upload
from api.series.schemas import SeriesFields
from api.series.storing import Scratch
from api.settings import ApiSettings
from domain.errors import ErrorItem, InvalidParameters, MalformedFile, TooLarge
from domain.series import SeriesSpec
from dynamics.audit import AuditedSeries, Places, audit
from store import series
from store.tables import SeriesRow

_SNIFFED_BYTES = 4096
_OPEN = {"csv": open_csv, "npy": open_npy, "parquet": open_parquet}


def ingest(services: Services, tenant: str, upload: Upload, query: dict[str, Any], scratch: Scratch) -> series.Added:
    """Read, audit and store an upload; nothing is left of one that is refused."""
    spec = merge(query, _form_fields(upload.fields))
    limits = _limits(services.settings)
    with upload.path.open("rb") as file:
        head = file.read(_SNIFFED_BYTES)
    kind = detect.detect(head, upload.content_type, upload.file_name, spec.format)
    if kind == "json":
        document = read_document(upload.path, limits)
        values, times = document.pop("values"), document.pop("time", None)
        spec = merge(spec.model_dump(exclude_unset=True), document)
        table = open_json(values, times, spec, limits)
    else:
        table = _OPEN[kind](upload.path, spec, limits)
    audited = _read_and_audit(table, spec, limits, scratch)
    source = {
        "format": kind,
        "bytes": upload.n_bytes,
        "file_name": _shown(upload.file_name),
        "time_column": None if table.columns.time is None else table.columns.time_name,
        **table.details,
    }
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
            source=source,
            tenant=tenant,
        )


def _read_and_audit(table: Table, spec: SeriesSpec, limits: Limits, scratch: Scratch) -> AuditedSeries:
    columns = table.columns
    values, times = scratch.writer(), scratch.writer()
    for time, rows in table.blocks:
        values.append(rows)
        if time is not None:
            times.append(time)
        if values.n_rows > limits.rows:
            raise TooLarge(f"The file has more than {limits.rows} rows: send a part of it, or every n-th row.")
        if values.n_rows * len(columns.channels) > limits.values:
            raise TooLarge(f"The file has more than {limits.values} values: send fewer rows or fewer channels.")
    if values.n_rows == 0:
        raise MalformedFile("The file has a header, but no rows.")
    audited = audit(
        values.finish(len(columns.channels)),
        times.finish(None) if times.n_rows else None,
        columns.channels,
        spec.model_copy(update={"time_unit": _time_unit(spec, table)}),
        time_column=columns.time_name,
        time_origin=table.origin,
        allocate=scratch.allocate,
    )
    audited.profile.issues[:0] = table.issues
    return audited


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


def _limits(settings: ApiSettings) -> Limits:
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
