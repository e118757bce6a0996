"""How far a trained model can be trusted one step ahead, and the range it has seen: what forecasts need besides the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models import TrainedModel


def calibrated(model: TrainedModel, validation: list[np.ndarray], train: list[np.ndarray]) -> TrainedModel:
    """The model with its one-step error, the measurement noise in it, and the range of the training data.

    `validation`, `train`: embedded, standardised observations, lists of (T_i, N_e), each without gaps.
    """
    errors = [one_step_errors(model, part) for part in validation if len(part) > 1]
    rows = model.to_units(np.concatenate(train))
    return replace(
        model,
        residual_std=np.concatenate(errors).std(axis=0),
        noise_std=measurement_noise(errors),
        minimum=rows.min(axis=0),
        maximum=rows.max(axis=0),
    )


def one_step_errors(model: TrainedModel, embedded: np.ndarray) -> np.ndarray:
    """x_{t+1} - observe(F(encode(x_t))): (T, N_e) -> (T - 1, N_e), float64."""
    exact = model.as_float64()
    return embedded[1:] - exact.observe(exact.step(exact.encode(embedded[:-1])))


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
