"""The body of an upload for the OpenAPI document; tests send these examples."""

from __future__ import annotations

from typing import Any

from api.series.schemas import SeriesFields
from api.tables import MEDIA_TYPES, Format

CSV = "t,x,y\n0.00,1.0,-0.5\n0.01,1.1,-0.4\n0.02,1.3,-0.2\n"
JSON: dict[str, Any] = {
    "name": "two channels",
    "dt": 0.01,
    "time_unit": "s",
    "values": {"x": [1.0, 1.1, 1.3], "y": [-0.5, -0.4, -0.2]},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _fields() -> dict[str, Any]:
    """The schemas of the fields, without references: nothing collects components from a request body made by hand."""
    schema = SeriesFields.model_json_schema()
    fields = schema["properties"]
    reference = fields["missing"].pop("$ref")
    return fields | {"missing": schema["$defs"][reference.rpartition("/")[2]] | fields["missing"]}


_FIELDS = _fields()
_VALUES = {
    "oneOf": [
        {"type": "array", "items": {"type": ["number", "null"]}},
        {"type": "array", "items": {"type": "array", "items": {"type": ["number", "null"]}}},
        {"type": "object", "additionalProperties": {"type": "array"}},
    ],
    "description": "One channel, rows of channels, or named columns; null is a missing value.",
}
_TIME = {
    "type": ["array", "object"],
    "description": "Times of the rows, instead of dt: a list, or for `recordings` a list or an object of lists.",
}
_RECORDINGS = {
    "oneOf": [
        {"type": "array", "items": {"type": ["array", "object"]}},
        {"type": "object", "additionalProperties": {"type": ["array", "object"]}},
    ],
    "description": "Instead of `values`: several recordings of one system, each as `values` would be; an object names them.",
}
_RECORDING = {
    "type": "array",
    "items": {"type": ["string", "integer"]},
    "description": "Beside `values`: the recording that each row belongs to.",
}
_FILES = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "minItems": 1,
    "description": "The file; several parts of this name are one recording each, named by their file names.",
}

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {"file": _FILES, **_FIELDS},
            }
        },
        "text/csv": {"schema": {"type": "string"}, "example": CSV},
        "application/json": {
            "schema": {
                "type": "object",
                "anyOf": [{"required": ["values"]}, {"required": ["recordings"]}],
                "additionalProperties": False,
                "properties": {
                    "values": _VALUES,
                    "recordings": _RECORDINGS,
                    "recording": _RECORDING,
                    "time": _TIME,
                    **_FIELDS,
                },
            },
            "example": JSON,
        },
        MEDIA_TYPES[Format.NPY]: _BINARY,
        MEDIA_TYPES[Format.PARQUET]: _BINARY,
        "application/octet-stream": _BINARY,
    },
}
