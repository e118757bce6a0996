"""Which map of a family a forecast or a report runs: that of a recording by its name, of a vector, or of one fitted to rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domain.errors import ErrorItem, InvalidParameters
from domain.results import ForecastStart
from domain.series import Recording, Segment
from domain.specs import ForecastSpec
from dynamics.calibration import one_step_errors
from models.trained import TrainedModel

FITTED_ROWS = 1000
ROWS_PER_NUMBER = 10  # of a vector
TRIED_VECTORS = 64


def fit_vector(
    model: TrainedModel,
    parts: list[np.ndarray],
    inputs: list[np.ndarray] | None = None,
    nuisance: list[np.ndarray] | None = None,
) -> np.ndarray:
    """l (p,) whose map predicts the next row best: min over l of mean ((x_{t+1} - observe(F_l(encode(x_t)))) / residual_std)^2.

    `parts`: rows in the series' own units, list of (T_i, N), each without a gap, `inputs` (T_i, K) and `nuisance` (T_i, P) of
    their rows. Nuisance is subtracted and a kernel undone first, less the rows that its deconvolution cuts. Least squares by
    Levenberg and Marquardt's method from the best of the vectors that training found, and their mean.
    Raises ValueError for fewer than 10 p rows.
    """
    from scipy.optimize import least_squares  # takes a while to import

    assert model.family is not None
    model = model.as_float64()
    family = model.family
    assert family is not None
    embedded: list[np.ndarray] = []
    driving: list[np.ndarray] | None = None if model.inputs is None or inputs is None else []
    for i, part in enumerate(parts):
        if len(part) <= model.context_steps:
            continue
        rows = slice(-FITTED_ROWS, None)
        contamination = None
        if model.nuisance is not None and nuisance is not None:
            contamination = model.nuisance.standardise(nuisance[i][rows])
        found = model.clean(model.embed(part[rows]), contamination)
        kept = slice(0, len(found))
        if model.filter is not None:
            left, right = model.filter.cut
            found, kept = model.filter.deconvolve(found), slice(left, len(found) - right)
        embedded.append(found[kept])
        if driving is not None and model.inputs is not None and inputs is not None:
            driving.append(model.inputs.standardise(inputs[i][rows])[model.lags[-1] :][kept])
    n_rows = sum(max(0, len(part) - 1) for part in embedded)
    if n_rows < ROWS_PER_NUMBER * family.dim:
        raise ValueError(
            f"{n_rows} steps are too few to fit {family.dim} numbers: {ROWS_PER_NUMBER * family.dim} needed"
        )

    def errors(vector: np.ndarray) -> np.ndarray:
        own = model.of(np.asarray(vector))
        found = [one_step_errors(own, e, None if driving is None else driving[i]) for i, e in enumerate(embedded)]
        return np.nan_to_num(np.concatenate(found) / model.residual_std, nan=1e6, posinf=1e6, neginf=-1e6).ravel()

    known = family.vectors[np.linspace(0, len(family.vectors) - 1, min(TRIED_VECTORS, len(family.vectors))).astype(int)]
    starts = np.concatenate([np.zeros((1, family.dim)), known])
    best = min(starts, key=lambda vector: float(np.sum(errors(vector) ** 2)))
    return np.asarray(least_squares(errors, best).x)


def forecasting_model(
    model: TrainedModel,
    spec: ForecastSpec,
    *,
    start: ForecastStart | None = None,
    recordings: Sequence[Recording] = (),
    rows: np.ndarray | None = None,
    inputs: np.ndarray | None = None,
    nuisance: np.ndarray | None = None,
) -> tuple[TrainedModel, list[float] | None]:
    """The map that a forecast runs, and its vector: as the request names it, else that of the recording in which the forecast
    starts, else one fitted to the `rows` (T, N) before the start, with their `inputs` and `nuisance`. A model that is no family
    is itself.

    Raises InvalidParameters for a name or a vector that does not fit, or where there is nothing to go by.
    """
    family = model.family
    if family is None:
        for field, given in (("recording", spec.recording), ("recording_vector", spec.recording_vector)):
            if given is not None:
                raise _wrong(field, f"The model has one map for all recordings; leave {field} away.")
        return model, None
    if spec.recording_vector is not None:
        if len(spec.recording_vector) != family.dim:
            raise _wrong("recording_vector", f"The model's recordings have vectors of {family.dim} numbers.")
        vector = np.array(spec.recording_vector)
    elif spec.recording is not None:
        if spec.recording not in family.names:
            raise _wrong(
                "recording", f"The model knows no recording {spec.recording[:60]!r}; it knows {_names(family.names)}."
            )
        vector = family.vector(spec.recording)
    else:
        at = None if start is None or start.index is None else start.index - 1
        name = next((r.name for r in recordings if at is not None and r.holds(at)), None)
        vector = family.vector(name) if name in family.names else _fitted(model, rows, inputs, nuisance)
    return model.of(vector), vector.tolist()


def _fitted(
    model: TrainedModel, rows: np.ndarray | None, inputs: np.ndarray | None, nuisance: np.ndarray | None
) -> np.ndarray:
    for what, there, given in (("inputs", model.inputs, inputs), ("nuisance", model.nuisance, nuisance)):
        if there is not None and given is None:
            detail = f"The model has a map for each recording, and no past {what} to fit one by: name the recording."
            raise _wrong("recording", detail)
    try:
        return fit_vector(
            model,
            [] if rows is None else [rows],
            None if inputs is None else [inputs],
            None if nuisance is None else [nuisance],
        )
    except ValueError as error:
        detail = f"The model has a map for each recording, and none can be fitted here ({error}): name a recording, or give recording_vector."
        raise _wrong("recording", detail) from error


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _wrong(field: str, detail: str) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer=f"/{field}", detail=detail)])


def rows_before(segments: Sequence[Segment], start: ForecastStart) -> slice:
    """Rows of a stored series that lead to a forecast's start without a gap, at most FITTED_ROWS of them."""
    assert start.index is not None
    first = next((s.start for s in segments if s.start < start.index <= s.stop), start.index)
    return slice(max(first, start.index - FITTED_ROWS), start.index)
