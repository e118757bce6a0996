"""Functions that only other compiled functions call."""

from __future__ import annotations

from typing import Any

from numba import njit

# Without the wrappers that Python would call them through (so Python must not call them), which cost most of the time of compiling them; division by
# zero gives inf or NaN, as in the states themselves.
_options: Any = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "error_model": "numpy"}
device = njit(**_options)
