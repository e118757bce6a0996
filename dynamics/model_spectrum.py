"""Lyapunov spectrum of a trained model, from its own Jacobians along its own free runs."""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student

from domain.base import Quantity
from domain.results import LyapunovSpectrum
from dynamics.kernels import lyapunov_qr
from dynamics.measures import kaplan_yorke_dimension
from dynamics.reporting import Reporter
from models import TrainedModel

LEVEL = 0.9
MIN_RUNS = 5
_MIN_RUN_STEPS = 500
_CALL_WORK = 5e8  # multiplications per compiled call, about 0.2 s


def model_spectrum(
    model: TrainedModel, states: np.ndarray, n_steps: int, *, reporter: Reporter | None = None
) -> tuple[LyapunovSpectrum, Quantity]:
    """Exponents and Kaplan-Yorke dimension of the map z -> F(z), by QR along free runs of n_steps in all.

    lambda_i = 1 / (T dt) sum_t ln R_ii(t), J(z_t) Q_{t-1} = Q_t R_t, in nats per time unit, descending; the mean over at least 5
    runs from evenly chosen `states` (K, M), which should lie on the attractor. The interval is Student's from the scatter
    between the runs. Source: Benettin et al. 1980, Meccanica 15, 9; Geist, Parlitz, Lauterborn 1990. -inf (a direction that
    dies at once) is null. Strongly negative exponents tell of the model rather than of the system: noise blurs them.
    """
    unit, method = f"1/{model.time_unit}" if model.time_unit else "1", "QR of the model's Jacobians along its free runs"
    reporter = reporter or Reporter()
    work = n_steps * model.latent_dim**2 * model.hidden_dim
    n_runs = max(MIN_RUNS, min(int(work / _CALL_WORK) + 1, n_steps // _MIN_RUN_STEPS))
    run_steps = -(-n_steps // n_runs)
    found = []
    for k in np.linspace(0, len(states), n_runs, endpoint=False).astype(int) if len(states) else []:
        reporter.check()
        found.append(lyapunov_qr(model, states[k], run_steps, max(200, run_steps // 10))[0] / model.dt)
    runs = np.array([exponents for exponents in found if not np.isnan(exponents).any()])
    if not len(runs):
        reason = "every free run of the model diverges"
        spectrum = LyapunovSpectrum(unit=unit, method=method, reason=reason)
        return spectrum, Quantity(unit="1", method="Kaplan-Yorke", reason=reason)
    mean = runs.mean(axis=0)
    finite = np.isfinite(runs).all(axis=0)
    halves = np.full(len(mean), np.nan)
    if len(runs) > 1:
        quantile = student.ppf(0.5 + LEVEL / 2, len(runs) - 1)
        halves[finite] = quantile * runs[:, finite].std(axis=0, ddof=1) / np.sqrt(len(runs))
    known = np.isfinite(halves)
    spectrum = LyapunovSpectrum(
        exponents=[float(m) if ok else None for m, ok in zip(mean, finite, strict=True)],
        ci=[(float(m - h), float(m + h)) if ok else None for m, h, ok in zip(mean, halves, known, strict=True)],
        level=LEVEL,
        unit=unit,
        method=f"{method}, {len(runs)} runs of {run_steps} steps",
        reason=None if finite.all() else "null: directions that the map contracts to nothing in one step",
    )
    return spectrum, kaplan_yorke_dimension(mean.tolist())
