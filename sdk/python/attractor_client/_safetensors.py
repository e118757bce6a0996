"""Reads safetensors files: eight bytes of length, a JSON header, then the tensors, one after the other."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_LONGEST_HEADER = 100_000_000


def read(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Tensors by name, and the metadata. Raises ValueError for anything that is not a whole safetensors file."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LONGEST_HEADER):
        raise ValueError("this is no safetensors file, or it was cut off")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = memoryview(data)[8 + length :]
    tensors = {}
    for name, entry in header.items():
        (start, stop), shape = entry["data_offsets"], entry["shape"]
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"tensor {name!r} has the type {entry['dtype']}, which is not read here")
        kind = np.dtype(_TYPES[entry["dtype"]])
        if not 0 <= start <= stop <= len(body) or stop - start != math.prod(shape) * kind.itemsize:
            raise ValueError(f"tensor {name!r} is not whole: the file was cut off or changed")
        tensors[name] = np.frombuffer(body[start:stop], kind).reshape(shape)
    return tensors, metadata
