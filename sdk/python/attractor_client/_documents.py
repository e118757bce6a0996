"""From JSON documents to frozen dataclasses; what the service adds later is ignored here and stays in `raw`."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def build(cls: type[T], document: dict[str, Any], **more: Any) -> T:
    """A dataclass from the fields of `document` that it knows; a field called `raw` gets the whole document."""
    known: dict[str, Any] = {}
    kind: Any = cls
    hints = _hints(kind)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name == "raw":
            known["raw"] = document
        elif field.name in document:
            known[field.name] = _convert(hints[field.name], document[field.name])
    return cls(**known, **more)


def _convert(kind: Any, value: Any) -> Any:
    if value is None and kind is not np.ndarray:
        return None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert(next(a for a in arguments if a is not type(None)), value)
    if dataclasses.is_dataclass(kind):
        return build(kind, value)  # type: ignore[arg-type]
    if kind is np.ndarray:
        return numbers(value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if origin is list:
        return [_convert(arguments[0], item) for item in value]
    if origin is dict and arguments[1] is not Any:
        return {key: _convert(arguments[1], item) for key, item in value.items()}
    if origin is tuple:
        return tuple(value)
    return value


def numbers(values: Any) -> np.ndarray:
    """Nested lists as float64; NaN where there is null."""
    return np.array([] if values is None else values, dtype=np.float64)
