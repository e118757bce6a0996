"""Forecasts of models whose future is known in closed form: means, spreads, coverage, units, refusals."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_made import clipped_tent, hand_made, linear, lozi, skew_tent

from domain.errors import DomainError, InvalidParameters
from domain.results import ForecastResult, ForecastStart, Predictability
from domain.specs import ForecastContext, ForecastSpec
from dynamics import ensembles
from dynamics.forecasting import forecast, horizon_steps
from dynamics.reporting import Interrupted, Reporter
from models import TrainedModel

START = ForecastStart(index=3, time=1.5)
UNKNOWN = Predictability(reason="lambda_max is not positive", unit="s")


def run(model: TrainedModel, rows: Any, predictability: Predictability = UNKNOWN, **spec: Any) -> ForecastResult:
    spec.setdefault("horizon_steps", 10)
    return forecast(
        model, np.asarray(rows, float), spec=ForecastSpec(**spec), start=START, predictability=predictability
    )


def codes(result: ForecastResult) -> set[str]:
    return {warning.code for warning in result.warnings}


def in_units(model: TrainedModel, **fields: Any) -> TrainedModel:
    n = len(model.channels)
    given = {"mean": np.arange(n) * 10.0 + 5, "std": np.arange(n) + 2.0, "dt": 0.5, "time_unit": "s"} | fields
    return replace(model, **given)


def test_a_linear_model_gives_the_closed_form_mean_and_spread() -> None:
    """x(k) = a^k x_0; variance r^2 / 2 (a^2k + 1), so the 5 % quantile lies 1.645 of its roots below the mean."""
    a, r = np.array([0.9, -0.5]), np.array([0.3, 0.1])
    model = in_units(linear(a.tolist(), residual_std=r))
    x0 = np.array([7.0, 12.0])
    result = run(model, [[0, 0], [1, 1], x0], samples=1000, quantiles=[0.05, 0.95], horizon_steps=8)
    k = np.arange(1, 9)[:, None]
    mean = model.mean + a**k * (x0 - model.mean)
    sigma = model.std * r * np.sqrt((a ** (2 * k) + 1) / 2)
    tolerance = 4 * sigma / np.sqrt(1000)
    assert (np.abs(np.array(result.median) - mean) < tolerance).all()
    for name, z in (("0.05", -1.645), ("0.95", 1.645)):
        assert (np.abs(np.array(result.quantiles[name]) - mean - z * sigma) < 2.2 * tolerance).all()


@pytest.mark.parametrize("samples", [39, 100])
def test_bands_cover_new_measurements_as_often_as_they_say(samples: int) -> None:
    """Truth s(k) = a^k s(0), measured with noise eta: the one-step error is r^2 = eta^2 (1 + a^2)."""
    rng, eta, a = np.random.default_rng(0), 0.2, 0.98
    model = linear([a], residual_std=np.array([eta * np.sqrt(1 + a**2)]))
    k = np.arange(1, 31)
    hits = []
    for trial in range(400):
        s0 = rng.normal()
        result = run(
            model, [[s0 + eta * rng.normal()]], samples=samples, quantiles=[0.1, 0.9], horizon_steps=30, seed=trial
        )
        measured = a**k * s0 + eta * rng.normal(size=30)
        low, high = (np.array(result.quantiles[q])[:, 0] for q in ("0.1", "0.9"))
        hits.append((low <= measured) & (measured <= high))
    coverage = np.mean(hits, axis=0)
    assert coverage.mean() == pytest.approx(0.8, abs=0.02)
    assert (np.abs(coverage - 0.8) < 0.08).all()


def test_errors_of_the_map_add_up_as_in_an_autoregressive_process() -> None:
    """x <- a x + q xi, no measurement noise: variance q^2 (1 - a^2k) / (1 - a^2)."""
    a, q = 0.9, 0.3
    model = linear([a], residual_std=np.array([q]), noise_std=np.array([0.0]))
    result = run(model, [[2.0]], samples=1000, quantiles=[0.05, 0.95], horizon_steps=30)
    k = np.arange(1, 31)
    sigma = q * np.sqrt((1 - a ** (2 * k)) / (1 - a**2))
    low, high = (np.array(result.quantiles[name])[:, 0] for name in ("0.05", "0.95"))
    np.testing.assert_allclose(high - low, 2 * 1.645 * sigma, rtol=0.15)
    np.testing.assert_allclose(np.array(result.median)[:, 0], 2 * a**k, atol=0.1)


def test_units_names_and_time_axis() -> None:
    model = in_units(linear([1.0, 1.0]), channels=["pressure", "flow"])
    result = run(model, [[0.0, 0.0], [3.0, 4.0]], horizon_steps=4, quantiles=[0.25])
    assert result.channels == ["pressure", "flow"]
    assert result.time == [1.5, 2.0, 2.5, 3.0]
    assert result.time_unit == "s"
    assert result.start == START
    assert result.horizon_steps == 4
    assert result.median == [[pytest.approx(3.0), pytest.approx(4.0)]] * 4
    assert list(result.quantiles) == ["0.25"]
    assert result.trusted_steps == 4
    assert result.warnings == []
    assert ForecastResult.model_validate_json(result.model_dump_json()) == result


def test_a_delay_embedded_model_reads_the_rows_its_lags_ask_for() -> None:
    """F swaps two coordinates: z = (x_t, x_{t-2}), so the first forecast is x_{t-2}."""
    swap = {
        "A": [0.0, 0.0],
        "W1": [[0.0, 1.0], [1.0, 0.0]],
        "W2": [[1.0, 0.0], [0.0, 1.0]],
        "h1": [-50.0, -50.0],
        "h2": [50.0, 50.0],
    }
    model = hand_made("shplrnn", swap, channels=["x"], mean=np.array([1.0]), std=np.array([2.0]), lags=[0, 2])
    result = run(model, [[100.0], [7.0], [8.0], [9.0]], horizon_steps=3, samples=1, quantiles=[])
    assert result.median == [[7.0], [9.0], [7.0]]
    with pytest.raises(InvalidParameters, match="needs 3 rows to start from; there are 2"):
        run(model, [[8.0], [9.0]])


def test_an_affine_observation_is_encoded_and_observed() -> None:
    """x = B z + b with N = 3, M = 2, z halved at every step: x(k) - b = 2^-k (x_0 - b) on the plane of B."""
    b_matrix, b = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.3]]), np.array([1.0, 2.0, 3.0])
    model = linear(
        [0.5, 0.5],
        observation={"B": b_matrix, "b": b},
        channels=["u", "v", "w"],
        mean=np.zeros(3),
        std=np.ones(3),
        residual_std=np.zeros(3),
    )
    z0 = np.array([0.7, -0.2])
    result = run(model, [b_matrix @ z0 + b], horizon_steps=3)
    np.testing.assert_allclose(result.median, [b_matrix @ z0 * 0.5**k + b for k in (1, 2, 3)], rtol=1e-12)


def test_a_single_member_is_the_plain_free_run_and_says_that_it_has_no_bands() -> None:
    model = lozi(residual_std=np.array([0.1, 0.1]))
    result = run(model, [[0.2, 0.1]], horizon_steps=20, samples=1)
    # Twenty steps of this map amplify the rounding of another order of summation ten-thousandfold.
    np.testing.assert_allclose(result.median, model.free_run(np.array([0.2, 0.1]), 20), rtol=0, atol=1e-11)
    assert result.quantiles["0.05"] == result.median
    assert result.trusted_steps is None
    assert codes(result) == {"too_few_members"}
    assert "at least 19 are needed" in result.warnings[0].detail


def test_the_same_seed_gives_the_same_forecast_and_another_seed_another() -> None:
    model = lozi(residual_std=np.array([0.01, 0.01]))
    first, again, other = (run(model, [[0.2, 0.1]], seed=seed) for seed in (7, 7, 8))
    assert first == again
    assert first.quantiles != other.quantiles


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lozi(residual_std=np.array([0.01, 0.01]))
    whole = run(model, [[0.2, 0.1]], horizon_steps=50)
    monkeypatch.setattr(ensembles, "_BLOCK_STEPS", 7)
    assert run(model, [[0.2, 0.1]], horizon_steps=50) == whole


def test_memory_does_not_grow_with_members_times_steps() -> None:
    """5,000 steps of 1,000 members in 3 coordinates are 120 MB; in blocks a fraction of it."""
    model = linear([0.9, 0.8, 0.7], residual_std=np.full(3, 0.1))
    tracemalloc.start()
    run(model, [[1.0, 1.0, 1.0]], horizon_steps=5_000, samples=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_single_precision_agrees_with_double_on_a_short_horizon() -> None:
    model = clipped_tent(1.9, residual_std=np.array([1e-3]))
    single = replace(model, params={k: v.astype(np.float32) for k, v in model.params.items()})
    a, b = (np.array(run(m, [[0.37]], horizon_steps=8).median) for m in (model, single))
    np.testing.assert_allclose(a, b, atol=2e-4)


def test_the_spread_of_a_chaotic_ensemble_grows_by_the_slope_until_it_fills_the_attractor() -> None:
    """tent of slope 1.9: std r / sqrt 2 * 1.9^k reaches a tenth of the width 0.855 at k = ln(0.0855 sqrt 2 / r) / ln 1.9."""
    r = 1e-6
    model = clipped_tent(1.9, residual_std=np.array([r]), minimum=np.array([0.095]), maximum=np.array([0.95]))
    known = Predictability(time=np.log(2) / np.log(1.9), steps=1, unit="step")
    result = run(model, [[0.37]], known, horizon_steps=60, samples=500)
    expected = np.log(0.0855 * np.sqrt(2) / r) / np.log(1.9)
    assert result.trusted_steps == pytest.approx(expected, abs=2)
    assert "horizon_beyond_predictability" in codes(result)
    assert "horizon_beyond_predictability" not in codes(run(model, [[0.37]], known, horizon_steps=12))


def test_the_median_of_a_spread_ensemble_is_that_of_the_invariant_density() -> None:
    """The skew tent keeps the uniform density on [0, 1]: far ahead the quantiles are the probabilities themselves."""
    model = skew_tent(0.37, residual_std=np.array([1e-3]))
    result = run(model, [[0.2]], horizon_steps=200, samples=1000, quantiles=[0.25, 0.9])
    tail = slice(100, 200)
    assert np.mean(result.median[tail]) == pytest.approx(0.5, abs=0.02)
    assert np.mean(result.quantiles["0.25"][tail]) == pytest.approx(0.25, abs=0.02)
    assert np.mean(result.quantiles["0.9"][tail]) == pytest.approx(0.9, abs=0.02)


def test_diverged_members_are_left_out_and_counted() -> None:
    """z -> z + 2 relu(z - 1): whoever starts above 1 runs away, whoever starts below stays."""
    runaway = {"A": [1.0], "W1": [[2.0]], "W2": [[1.0]], "h1": [0.0], "h2": [-1.0]}
    model = hand_made("shplrnn", runaway, residual_std=np.array([1e-3]))
    result = run(model, [[1.0]], horizon_steps=2000, samples=101)
    [warning] = [w for w in result.warnings if w.code == "members_diverged"]
    assert warning.detail.startswith("50 of 101 members left every bound, the first at step 1")
    assert result.trusted_steps is not None
    assert result.trusted_steps < 30
    assert result.median[-1][0] == pytest.approx(1.0, abs=2e-3)
    assert all(low[0] <= 1.002 for low in result.quantiles["0.95"][30:])


def test_nothing_but_null_is_left_when_all_members_diverge() -> None:
    result = run(linear([10.0], residual_std=np.array([0.1])), [[5.0]], horizon_steps=400)
    assert result.median[4][0] == pytest.approx(5e5, rel=0.1)
    assert result.median[8:] == [[None]] * 392
    assert result.quantiles["0.05"][8:] == [[None]] * 392
    assert "members_diverged" in codes(result)
    assert ForecastResult.model_validate_json(result.model_dump_json()) == result


def test_a_context_outside_the_training_range_is_told() -> None:
    model = linear([0.9, 0.9], channels=["u", "v"], minimum=np.array([0.0, 0.0]), maximum=np.array([1.0, 1.0]))
    assert codes(run(model, [[50.0, 50.0], [1.05, 0.5]])) == set()
    result = run(model, [[0.5, -0.2]])
    assert codes(result) == {"context_outside_training_range"}
    assert result.warnings[0].detail.startswith("v lie outside")


class TestHorizon:
    def test_lyapunov_times_and_steps_agree(self) -> None:
        """lambda_max = 0.5 per s, dt = 0.5 s: a Lyapunov time is 2 s, four steps."""
        known = Predictability(time=np.log(2) / 0.5, steps=2, unit="s")
        model = in_units(lozi(residual_std=np.array([0.01, 0.01])))
        by_time = run(model, [[5.0, 15.0]], known, horizon_steps=None, horizon_lyapunov_times=2.5)
        assert by_time.horizon_steps == 10
        assert by_time == run(model, [[5.0, 15.0]], known, horizon_steps=10)

    def test_at_least_one_step(self) -> None:
        known = Predictability(time=1.0, steps=1)
        assert horizon_steps(ForecastSpec(horizon_lyapunov_times=1e-9), known, 0.1) == 1

    def test_without_a_positive_exponent_there_is_no_lyapunov_time(self) -> None:
        with pytest.raises(InvalidParameters) as error:
            horizon_steps(ForecastSpec(horizon_lyapunov_times=2), UNKNOWN, 0.1)
        assert error.value.errors[0].pointer == "/horizon_lyapunov_times"
        assert (
            error.value.detail == "There is no Lyapunov time (lambda_max is not positive); give horizon_steps instead."
        )

    def test_too_many_steps_are_refused(self) -> None:
        with pytest.raises(InvalidParameters, match="are 14426950 steps; at most 1000000"):
            horizon_steps(ForecastSpec(horizon_lyapunov_times=10_000), Predictability(time=1.0), 1e-3)

    def test_too_many_numbers_are_refused(self) -> None:
        with pytest.raises(InvalidParameters, match="at most 333333 steps fit") as error:
            run(linear([0.5] * 10), np.zeros((1, 10)), horizon_steps=1_000_000)
        assert error.value.errors[0].pointer == "/horizon_steps"


class TestContext:
    def refused(self, rows: Any, **spec: Any) -> DomainError:
        with pytest.raises(InvalidParameters) as error:
            run(linear([0.5, 0.5], channels=["u", "v"]), rows, **spec)
        return error.value

    @pytest.mark.parametrize("context", [np.zeros((4, 3)), np.zeros(4), np.zeros((4, 0))])
    def test_a_wrong_width_names_the_channels(self, context: np.ndarray) -> None:
        assert self.refused(context).detail == "The rows must hold the model's 2 channels: u, v."

    def test_no_rows(self) -> None:
        assert self.refused(np.empty((0, 2))).detail == "The model needs 1 rows to start from; there are 0."

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_missing_value_is_named_with_its_row(self, bad: float) -> None:
        sent = {"context": ForecastContext(values=[[0, 0], [0, 0], [0, 0]])}
        error = self.refused([[0, 0], [0, 0], [0, bad]], **sent)
        assert error.errors[0].pointer == "/context/values/2/1"
        assert error.errors[0].rows == [2]
        assert "The value of v in row 2" in error.detail
        assert self.refused([[0, 0], [0, bad]]).errors[0].pointer == "/start_index"

    def test_only_the_rows_that_are_used_must_be_there(self) -> None:
        result = run(linear([0.5, 0.5]), [[np.nan, np.nan], [1.0, 2.0]], horizon_steps=1)
        assert result.median == [[0.5, 1.0]]


def test_a_stop_request_interrupts() -> None:
    class Stopping(Reporter):
        def should_stop(self) -> bool:
            return True

    with pytest.raises(Interrupted):
        forecast(
            linear([0.5]),
            np.ones((1, 1)),
            spec=ForecastSpec(horizon_steps=5),
            start=START,
            predictability=UNKNOWN,
            reporter=Stopping(),
        )


def test_forecasting_imports_neither_torch_nor_numba_nor_scipy() -> None:
    script = (
        "import sys, dynamics.forecasting; "
        "print([m for m in ('torch', 'numba', 'scipy', 'fastapi', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("samples", [1, 2, 3, 19, 20, 100, 101])
def test_quantiles_are_numpys_to_the_bit(samples: int) -> None:
    rng = np.random.default_rng(samples)
    values = rng.normal(size=(30, 2, samples)) * 10.0 ** rng.integers(-3, 4, (30, 1, 1))
    probabilities = np.array([0.5, 0.05, 0.95, 1e-4, 1 - 1e-4, 1 / (samples + 1), *rng.uniform(1e-4, 1 - 1e-4, 3)])
    expected = np.quantile(values, probabilities, axis=2, method="weibull")
    np.testing.assert_array_equal(ensembles._quantiles(values.copy(), probabilities), expected)
    values[4, :, 0] = np.nan
    values[9] = np.nan
    found = ensembles._quantiles(values.copy(), probabilities)
    np.testing.assert_array_equal(np.delete(found, [4, 9], axis=1), np.delete(expected, [4, 9], axis=1))
    assert np.isnan(found[:, 9]).all()
    if samples > 1:
        left = np.quantile(values[4, :, 1:], probabilities, axis=1, method="weibull")
        np.testing.assert_array_equal(found[:, 4], left)
