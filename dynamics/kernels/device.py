"""Functions that only other compiled functions call.

They are compiled without the wrappers that Python would call them through (so Python must not call them), which cost most of the
time of compiling them. Division by zero gives inf or NaN, as in the states themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import overload

_options: Any = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
_uncounted: Any = _options | {"_nrt": False}

# Without reference counts, of which every array argument of every call would otherwise take two, with a locked bus: they took two
# thirds of the time of small models. Such functions cannot make arrays.
device = njit(**_uncounted)

# What runs once per update, and makes arrays.
allocating_device = njit(**_options)


def device_overload(function: Callable) -> Callable:
    """As numba.extending.overload, compiled like `device`."""
    return overload(function, jit_options=_uncounted)
