"""Lyapunov spectrum of a trained model, from its own Jacobians along its own free runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from domain.base import Quantity
from domain.results import LyapunovSpectrum
from dynamics.kernels import lyapunov_qr
from dynamics.measures import kaplan_yorke_dimension
from dynamics.reporting import Reporter
from models.trained import Drive, TrainedModel

LEVEL = 0.9
MIN_RUNS = 5
_MIN_RUN_STEPS = 500
_TRANSIENT_STEPS = 200
_MIN_DRIVEN_STEPS = 20  # of a run through recorded inputs
_CALL_WORK = 5e8  # multiplications per compiled call, about 0.2 s
_SPECTRUM_WORK = 4e9  # multiplications in all, about 2 s
OWN = "QR of the model's Jacobians along its free runs"
CONDITIONAL = (
    "conditional exponents, those of the state alone while the inputs are given: QR of the model's Jacobians along runs "
    "driven by the recorded inputs"
)


def model_spectrum(
    model: TrainedModel, states: np.ndarray, n_steps: int, *, reporter: Reporter | None = None
) -> tuple[LyapunovSpectrum, Quantity]:
    """Exponents and Kaplan-Yorke dimension of the map z -> F(z), by QR along free runs of n_steps in all.

    lambda_i = 1 / (T dt) sum_t ln R_ii(t), J(z_t) Q_{t-1} = Q_t R_t, in nats per time unit, descending; the mean over at least 5
    runs from evenly chosen `states` (K, M), which should lie on the attractor. The interval is Student's from the scatter
    between the runs. Source: Benettin et al. 1980, Meccanica 15, 9; Geist, Parlitz, Lauterborn 1990. -inf (a direction that
    dies at once) is null. Strongly negative exponents tell of the model rather than of the system: noise blurs them.
    Of a wide map only the leading exponents are computed, and fewer steps, as many as some 2 s allow; `reason` says so.
    """
    extent = _extent(model, n_steps)
    n_runs = max(MIN_RUNS, min(int(extent.work / _CALL_WORK) + 1, extent.n_steps // _MIN_RUN_STEPS))
    run_steps = -(-extent.n_steps // n_runs)
    transient = max(_TRANSIENT_STEPS, run_steps // 10)
    chosen = np.linspace(0, len(states), n_runs, endpoint=False).astype(int)
    starts = [(states[k], None) for k in chosen] if len(states) else []
    return _spectrum(model, starts, extent, run_steps, transient, OWN, "every free run of the model diverges", reporter)


def driven_spectrum(
    model: TrainedModel, embedded: np.ndarray, inputs: np.ndarray, n_steps: int, *, reporter: Reporter | None = None
) -> tuple[LyapunovSpectrum, Quantity]:
    """The same of a model with inputs, z -> F(z) + C s_t: conditional exponents, how perturbations of the state alone grow.

    `embedded` (T, N_e) without a gap and the standardised inputs of its rows (T, K). At least 5 runs start on the data,
    spread evenly, and go through the recorded inputs, never beyond their end, so that there may be fewer steps than
    n_steps. Source: Pecora & Carroll 1990, Phys. Rev. Lett. 64, 821.
    """
    extent, usable = _extent(model, n_steps), len(embedded) - model.context_rows
    n_runs = max(MIN_RUNS, int(extent.work / _CALL_WORK) + 1)
    transient = min(_TRANSIENT_STEPS, usable // 20)
    run_steps = min(-(-extent.n_steps // n_runs), (usable - transient) // n_runs)
    if run_steps < _MIN_DRIVEN_STEPS:
        needed = 1 + n_runs * _MIN_DRIVEN_STEPS * 20 // 19
        reason = (
            f"the model is driven: about {needed} rows of the reference without a gap are needed, not {len(embedded)}"
        )
        return _nothing(model, CONDITIONAL, reason)
    rows = np.linspace(0, usable - transient - run_steps, n_runs).astype(int) + model.context_rows - 1
    launched = model.launch(embedded[rows[:, None] + np.arange(1 - model.context_rows, 1)])[-1]
    starts = [(z, Drive(inputs, np.array([row + 1 - model.lead]))) for z, row in zip(launched, rows, strict=True)]
    reason = "every driven run of the model diverges"
    return _spectrum(model, starts, extent, run_steps, transient, CONDITIONAL, reason, reporter)


@dataclass(frozen=True)
class _Extent:
    """How much of a spectrum is computed."""

    n_exponents: int
    n_steps: int
    work: float  # multiplications of all steps


def _extent(model: TrainedModel, n_steps: int) -> _Extent:
    """All exponents over n_steps where that is affordable; else the leading ones, as many as leave enough steps, and fewer steps."""
    m = model.latent_dim
    weights = sum(a.size for a in model.params.values())
    jacobian = weights * (m if model.hidden_dim else 1)
    fixed = jacobian + 8 * weights  # the step itself is made in all lanes of a vector

    def frame(k: int) -> int:
        """Work of J Q and of the orthogonalisation, which run at half of the Jacobian's speed."""
        return 2 * (m * m * k + 2 * m * k * k)

    settling = MIN_RUNS * _TRANSIENT_STEPS
    per_step = _SPECTRUM_WORK / (MIN_RUNS * _MIN_RUN_STEPS + settling)
    k = max(k for k in range(1, m + 1) if k <= 2 or frame(k) <= max(jacobian, per_step - fixed))
    work = float(fixed + frame(k))
    steps = min(n_steps, max(MIN_RUNS * 20, int(_SPECTRUM_WORK / work) - settling))
    return _Extent(k, steps, steps * work)


def _spectrum(
    model: TrainedModel,
    starts: Sequence[tuple[np.ndarray, Drive | None]],
    extent: _Extent,
    run_steps: int,
    transient: int,
    method: str,
    lost: str,
    reporter: Reporter | None,
) -> tuple[LyapunovSpectrum, Quantity]:
    reporter, k = reporter or Reporter(), extent.n_exponents
    found = []
    for z, drive in starts:
        reporter.check()
        found.append(lyapunov_qr(model, z, run_steps, transient, drive=drive, n_exponents=k)[0] / model.dt)
    runs = np.array([exponents for exponents in found if not np.isnan(exponents).any()])
    if not len(runs):
        return _nothing(model, method, lost)
    mean = runs.mean(axis=0)
    finite = np.isfinite(runs).all(axis=0)
    halves = np.full(len(mean), np.nan)
    if len(runs) > 1:
        quantile = student.ppf(0.5 + LEVEL / 2, len(runs) - 1)
        halves[finite] = quantile * runs[:, finite].std(axis=0, ddof=1) / np.sqrt(len(runs))
    known, m = np.isfinite(halves), model.latent_dim
    reasons = [] if finite.all() else ["null: directions that the map contracts to nothing in one step"]
    if k < m:
        reasons.append(f"the {k} leading of {m} exponents: all of them would take far longer than the training")
    spectrum = LyapunovSpectrum(
        exponents=[float(e) if ok else None for e, ok in zip(mean, finite, strict=True)],
        ci=[(float(e - h), float(e + h)) if ok else None for e, h, ok in zip(mean, halves, known, strict=True)],
        level=LEVEL,
        unit=_unit(model),
        method=f"{method}, {len(runs)} runs of {run_steps} steps",
        reason="; ".join(reasons) or None,
    )
    return spectrum, kaplan_yorke_dimension([*mean.tolist(), *[None] * (m - k)])


def _nothing(model: TrainedModel, method: str, reason: str) -> tuple[LyapunovSpectrum, Quantity]:
    spectrum = LyapunovSpectrum(unit=_unit(model), method=method, reason=reason)
    return spectrum, Quantity(unit="1", method="Kaplan-Yorke", reason=reason)


def _unit(model: TrainedModel) -> str:
    return f"1/{model.time_unit}" if model.time_unit else "1"
