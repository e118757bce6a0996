"""How good a reconstruction is: every measure under its field name, every variant under its own.

Each function returns a `Measure` (or `Quantity`): the value with its variant and parameters, or null with the reason.
Numbers of two variants are never compared. Definitions, sources and what each measure cannot see: docs/science/measures.md.
"""

from dynamics.measures.d_h import d_h, d_h_floor, d_h_pooled, window_steps
from dynamics.measures.d_stsp import (
    MAX_BINNED_CHANNELS,
    d_stsp,
    d_stsp_all,
    d_stsp_binned,
    d_stsp_binned_2s,
    d_stsp_mixture,
    d_stsp_mixtures,
)
from dynamics.measures.kaplan_yorke import kaplan_yorke_dimension
from dynamics.measures.prediction_error import prediction_error
from dynamics.measures.valid_prediction_time import valid_prediction_time

__all__ = [
    "MAX_BINNED_CHANNELS",
    "d_h",
    "d_h_floor",
    "d_h_pooled",
    "d_stsp",
    "d_stsp_all",
    "d_stsp_binned",
    "d_stsp_binned_2s",
    "d_stsp_mixture",
    "d_stsp_mixtures",
    "kaplan_yorke_dimension",
    "prediction_error",
    "valid_prediction_time",
    "window_steps",
]
