"""What the science demands at least, for the rooms that compute and for the API, which says so before a job is made."""

from __future__ import annotations

MIN_ANALYSIS_STEPS = 200  # usable rows of a Lyapunov analysis, in runs without a gap of at least MIN_ANALYSIS_RUN rows
MIN_ANALYSIS_RUN = 40
SHORTEST_SEQUENCE = 10  # steps of a training sequence that `auto` goes down to
MAX_FORECAST_VALUES = 10_000_000  # horizon_steps * channels * (1 + quantiles)
