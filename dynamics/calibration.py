"""How far a trained model can be trusted one step ahead, and the range it has seen: what forecasts need besides the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.readouts import Readouts
from models.trained import Inputs, TrainedModel

MAX_STARTS = 500  # of one stretch


def calibrated(
    model: TrainedModel,
    validation: list[np.ndarray],
    train: list[np.ndarray],
    *,
    validation_inputs: list[np.ndarray] | None = None,
    train_inputs: list[np.ndarray] | None = None,
    observed: list[np.ndarray] | None = None,
    owners: list[int] | None = None,
) -> TrainedModel:
    """The model with its one-step error, the measurement noise in it, and the range of the training data.

    `validation`, `train`: embedded, standardised observations, lists of (T_i, N_e), each without gaps; for a model with
    inputs those of the same rows, standardised, lists of (T_i, K). Of a convolutional model they are the deconvolved series,
    and `observed` is what was deconvolved, whose range it keeps; of one with channels of counts or classes the signals, and `observed`
    the rows, whose `start_errors` take the place of these channels' measurement noise. `owners`: of a family, the recording of each part of
    `validation`, -1 for one without a vector, which is left out. Raises ValueError where it has inputs and none are given.
    """
    driving = [None] * len(validation) if model.inputs is None else validation_inputs
    if driving is None or (model.inputs is not None and train_inputs is None):
        raise ValueError("a model with inputs is calibrated with the inputs of its data")
    errors = [
        one_step_errors(model.of(owner), part, inputs)
        for part, inputs, owner in zip(validation, driving, owners or [0] * len(validation), strict=True)
        if len(part) > 1 and owner != -1
    ]
    rows = model.values(np.concatenate(train if observed is None else observed))
    noise = measurement_noise(errors)
    if model.readouts is not None and observed is not None:
        counted = np.setdiff1d(np.arange(model.n_observed), model.readouts.gaussian)
        noise[counted] = start_errors(model.readouts, observed)[counted]
    return replace(
        model,
        inputs=None if model.inputs is None else _with_range(model.inputs, train_inputs or []),
        residual_std=np.concatenate(errors).std(axis=0),
        noise_std=noise,
        minimum=rows.min(axis=0),
        maximum=rows.max(axis=0),
    )


def start_errors(readouts: Readouts, rows: list[np.ndarray]) -> np.ndarray:
    """Std of what the rows after a row would change of its signal, list of (T_i, N_e) -> (N_e,): with that error runs start."""
    found = []
    for part in rows:
        starts = np.arange(readouts.context_steps - 1, len(part) - readouts.context_steps + 1)
        starts = starts[:: max(1, len(starts) // MAX_STARTS)]
        if starts.size:
            contexts = part[starts[:, None] + np.arange(1 - readouts.context_steps, 1)]
            found.append(readouts.last_signal(contexts) - readouts.signals(part)[starts])
    return np.concatenate(found).std(axis=0) if found else np.ones(readouts.n_coordinates)


def _with_range(inputs: Inputs, train: list[np.ndarray]) -> Inputs:
    rows = np.concatenate(train) * inputs.std + inputs.mean
    return replace(inputs, minimum=rows.min(axis=0), maximum=rows.max(axis=0))


def one_step_errors(model: TrainedModel, embedded: np.ndarray, inputs: np.ndarray | None = None) -> np.ndarray:
    """x_{t+1} - observe(F(encode(x_t)) + C s_{t+1}): (T, N_e), inputs (T, K) of a driven model -> (T - 1, N_e), float64."""
    exact = model.as_float64()
    following = exact.step(exact.encode(embedded[:-1]), None if inputs is None else inputs[1:])
    return embedded[1:] - exact.observe(following)


def measurement_noise(errors: list[np.ndarray]) -> np.ndarray:
    """Std of the measurement noise that one-step errors betray by their anticorrelation: list of (T_i, N_e) -> (N_e,).

    With x_t measured as x_t + n_t the error is e_{t+1} = n_{t+1} - J n_t + q_t, so cov(e_t, e_{t+1}) = -J var(n), with J near 1
    where the sampling is dense: var(n) = clip(-cov(e_t, e_{t+1}), 0, var(e) / 2). Errors of the map itself, q_t, are not
    anticorrelated. Too small for maps that turn or contract strongly (J <= 0), where the noise then counts as the map's error.
    """
    mean = np.concatenate(errors).mean(axis=0)
    centred = [e - mean for e in errors]
    covariance = sum((e[1:] * e[:-1]).sum(axis=0) for e in centred) / max(1, sum(len(e) - 1 for e in centred))
    variance = np.concatenate(centred).var(axis=0)
    return np.sqrt(np.clip(-covariance, 0, variance / 2))
