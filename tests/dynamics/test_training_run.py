"""`train` from the outside: repeatable to the bit, resumable to the bit, cancelable, honest about failure."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from domain.base import Quantity
from domain.errors import ConstantSeries, InvalidParameters, SeriesTooShort, UnknownChannel
from domain.jobs import Progress
from domain.specs import TrainSpec
from dynamics.reporting import Diverged, Interrupted, Reporter
from dynamics.training import ensemble, held_out, seeds, train
from dynamics.training import run as run_module
from dynamics.training.engine import CompiledEngine
from dynamics.training.selection import Judgement, Referee
from models import TrainedModel


def lorenz63(n_steps: int, dt: float = 0.02) -> np.ndarray:
    """Lorenz 1963 with the classical parameters, fourth-order Runge-Kutta."""

    def rhs(s: np.ndarray) -> np.ndarray:
        x, y, z = s
        return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])

    state, rows = np.array([1.0, 2.0, 20.0]), []
    for t in range(n_steps + 500):
        k1 = rhs(state)
        k2 = rhs(state + dt / 2 * k1)
        k3 = rhs(state + dt / 2 * k2)
        k4 = rhs(state + dt * k3)
        state = state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if t >= 500:
            rows.append(state)
    return np.array(rows)


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    return lorenz63(1500)


SMALL = {"hidden_dim": 30, "sequence_length": 50, "updates": 600, "seeds": 2, "budget_seconds": 120}


def run(series: np.ndarray, reporter: Reporter | None = None, threads: int = 2, **changes):
    spec = TrainSpec.model_validate({**SMALL, **changes})
    return train(
        [(0, series)],
        channels=[f"x{i}" for i in range(series.shape[1])],
        dt=0.02,
        time_unit="s",
        spec=spec,
        analysis=None,
        reporter=reporter or Reporter(),
        threads=threads,
    )


class Recorder(Reporter):
    """Remembers progress and checkpoints; stops once `updates` updates are seen."""

    def __init__(self, stop_after: float = np.inf, checkpoint: bytes | None = None) -> None:
        self.stop_after, self.checkpoint = stop_after, checkpoint
        self.progress: list[Progress] = []

    def report(self, progress: Progress) -> None:
        self.progress.append(progress)

    def should_stop(self) -> bool:
        return any((p.step or 0) >= self.stop_after for p in self.progress)

    def save_checkpoint(self, data: bytes) -> None:
        self.checkpoint = data

    def load_checkpoint(self) -> bytes | None:
        return self.checkpoint


class FakeClock:
    """Stands in for the module `time`: a thousand updates take one second, and nothing else takes any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.blocks = 0.0, []
        self.lock = threading.Lock()
        advance = CompiledEngine.advance

        def timed(engine, learner, workspace, first, rates, *forcing):
            outcome = advance(engine, learner, workspace, first, rates, *forcing)
            with self.lock:
                self.now += len(rates) * 1e-3
                self.blocks.append(len(rates))
            return outcome

        monkeypatch.setattr(CompiledEngine, "advance", timed)
        monkeypatch.setattr(ensemble, "time", self)
        monkeypatch.setattr(seeds, "time", self)
        monkeypatch.setattr(ensemble, "POLL_SECONDS", 0.001)
        monkeypatch.setattr(ensemble, "REPORT_SECONDS", 0.05)

    def perf_counter(self) -> float:
        return self.now


def test_the_same_request_gives_the_same_bytes_whatever_the_number_of_threads(series: np.ndarray) -> None:
    first, history = run(series, threads=2)
    second, _ = run(series, threads=1)
    assert first.to_safetensors() == second.to_safetensors()
    assert [s.seed for s in history.seeds][:2] == [0, 1]
    assert sum(s.kept for s in history.seeds) == 1
    other, _ = run(series, seed=5)
    assert other.to_safetensors() != first.to_safetensors()


def test_a_resumed_run_equals_an_uninterrupted_one(series: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(monkeypatch)
    long = {"updates": 4000, "hidden_dim": 60}
    whole, whole_history = run(series, **long)
    interrupted = Recorder(stop_after=1500)
    with pytest.raises(Interrupted):
        run(series, interrupted, **long)
    assert interrupted.checkpoint is not None
    resumed = Recorder(checkpoint=interrupted.checkpoint)
    model, history = run(series, resumed, **long)
    steps = [p.step for p in resumed.progress if p.phase == "training"]
    assert steps
    assert min(s for s in steps if s is not None) >= 1500
    assert model.to_safetensors() == whole.to_safetensors()
    assert history.loss == whole_history.loss
    assert [s.validation for s in history.seeds] == [s.validation for s in whole_history.seeds]


def test_a_checkpoint_of_another_request_or_a_broken_one_is_left_alone(series: np.ndarray) -> None:
    plain, _ = run(series)
    model, _ = run(series, Recorder(checkpoint=b"PK\x03\x04 no archive"))
    assert model.to_safetensors() == plain.to_safetensors()


def test_a_canceled_run_stops_between_two_blocks_and_leaves_a_checkpoint(
    series: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(monkeypatch)
    recorder = Recorder(stop_after=50)
    with pytest.raises(Interrupted):
        run(series, recorder, threads=1, updates=1_000_000, budget_seconds=80_000)
    assert recorder.checkpoint is not None
    assert max(clock.blocks) <= 1.001 * 1000 * seeds.BLOCK_SECONDS  # so a stop is seen within BLOCK_SECONDS
    assert sum(clock.blocks) < 1_000_000
    assert not [t for t in threading.enumerate() if t.name.startswith("seed")]


def test_progress_says_phase_loss_and_time_left(series: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeClock(monkeypatch)
    recorder = Recorder()
    run(series, recorder, updates=8000)
    phases = [p.phase for p in recorder.progress]
    assert phases[0] == "compiling"
    training = [p for p in recorder.progress if p.phase == "training"]
    assert training
    assert all(p.total_steps == 16_000 for p in training)
    assert [p.fraction for p in training] == sorted(p.fraction for p in training)
    assert any(p.eta_s is not None and "loss" in p.metrics for p in training)


def test_further_runs_are_tried_where_the_best_is_lost_from_recorded_states(
    series: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge finds nothing wrong with the runs, and a third of the states leads each of the first two away."""
    seen: list[bytes] = []

    def lost_states(referee: Referee, model: TrainedModel) -> float:
        if model.to_safetensors() not in seen:
            seen.append(model.to_safetensors())
        return 0.3 if seen.index(model.to_safetensors()) < 2 else 0.0

    def judge(referee: Referee, model: TrainedModel) -> Judgement:
        return Judgement(1.0, "ok", "")

    monkeypatch.setattr(Referee, "lost_states", lost_states)
    monkeypatch.setattr(Referee, "judge", judge)
    _, history = run(series, seeds=2, updates=60)
    kept = [s for s in history.seeds if s.kept]
    assert len(history.seeds) == 2 + ensemble.FURTHER_RUNS
    assert kept[0] in history.seeds[2:]
    assert ["30%" in s.why for s in history.seeds[:2]] == [True, True]
    seen[:] = [b"", b""]  # nothing is lost any more
    assert len(run(series, seeds=2, updates=60)[1].seeds) == 2


def test_the_budget_is_a_cap_and_the_history_says_when_it_struck(
    series: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(monkeypatch)
    _, history = run(series, threads=1, updates=10_000_000, budget_seconds=3, seeds=2)
    assert 2.5 < clock.now <= 3.0  # seconds on the clock
    assert "1 of 1 runs were shortened, 1 not begun" in history.settings["why"]["budget"]
    assert 2500 < history.seeds[0].updates <= 3000


def test_runs_that_fit_into_the_budget_are_neither_shortened_nor_dropped(
    series: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock(monkeypatch)
    _, history = run(series, threads=1, updates=600, budget_seconds=30, seeds=3)
    assert "budget" not in history.settings["why"]
    assert [s.updates for s in history.seeds] == [600] * len(history.seeds)
    assert clock.now == pytest.approx(0.6 * len(history.seeds))


def test_divergence_is_told_with_advice(series: np.ndarray) -> None:
    with pytest.raises(Diverged, match=r"seed 0.*gtf") as caught:
        run(
            series,
            forcing={"kind": "none"},
            learning_rate={"peak": 1.0, "schedule": "constant"},
            updates=300,
        )
    assert "learning_rate" in str(caught.value)


def test_a_short_series_is_refused_with_the_numbers(series: np.ndarray) -> None:
    with pytest.raises(SeriesTooShort, match=r"47 rows; a sequence of 50 steps needs 51"):
        run(series[:55])
    with pytest.raises(SeriesTooShort, match="needs 11"):
        run(series[:12], sequence_length="auto")


def test_a_constant_channel_and_too_small_a_latent_space_are_refused(series: np.ndarray) -> None:
    flat = series.copy()
    flat[:, 1] = 3.0
    with pytest.raises(ConstantSeries, match="x1"):
        run(flat)
    with pytest.raises(InvalidParameters, match="latent_dim 2"):
        run(series, latent_dim=2)


def test_parts_are_consecutive_and_the_held_out_part_is_the_tail(series: np.ndarray) -> None:
    segments = [(0, series[:700]), (800, series[800:])]
    spec = TrainSpec(test_fraction=0.2, validation_fraction=0.1)
    ((start, tail),) = held_out(segments, spec)
    assert start == 1220
    np.testing.assert_array_equal(tail, series[1220:])
    _, history = run(series)
    assert (history.train_steps, history.validation_steps, history.test_steps) == (
        (0, 1282),
        (1282, 1350),
        (1350, 1500),
    )


def test_a_model_reconstructs_a_scalar_series_through_its_lags(series: np.ndarray) -> None:
    model, history = run(series[:, :1], embedding_lags=[0, 5, 10], updates=1500)
    assert model.n_observed == 3
    assert history.settings["lags"] == [0, 5, 10]
    states = model.free_run(model.encode(model.embed(series[:50, :1])[-1]), 200)
    units = model.to_units(model.observe(states))
    assert units.shape == (200, 1)
    assert np.all(np.abs(units) < 60)
    assert np.all(model.residual_std > 0)


def driven(n_steps: int) -> np.ndarray:
    """x' = 0.9 x + 0.4 s of an observed x and an input s that is drawn anew at every step: (n_steps, 2), x first.

    s_t drives the step that leads to x_t.
    """
    s = np.random.default_rng(0).standard_normal(n_steps)
    x = np.zeros(n_steps)
    for t in range(1, n_steps):
        x[t] = 0.9 * x[t - 1] + 0.4 * s[t]
    return np.stack([x, s], axis=1)


@pytest.mark.parametrize("engine", ["compiled", "torch"])
def test_a_driven_system_is_learned_with_its_coupling(engine: str) -> None:
    values = driven(1000)
    changes = {"updates": 500, "hidden_dim": 5, "seeds": 1, "sequence_length": 20}
    changes |= {"learning_rate": {"peak": 0.05}, "input_channels": ["x1"], "engine": engine}
    model, history = run(values, **changes)
    assert (model.channels, model.input_channels) == (["x0"], ["x1"])
    assert history.engine.startswith({"compiled": "compiled kernels", "torch": "torch"}[engine])
    assert history.settings["input_channels"] == ["x1"]
    assert model.card["settings"]["input_channels"] == ["x1"]
    predicted = model.to_units(
        model.observe(model.step(model.encode(model.embed(values[:-1, :1])), model.inputs.standardise(values[1:, 1:])))
    )
    error = np.mean((predicted - values[1:, :1]) ** 2) / values[:, 0].var()
    assert error < 1e-3  # without its input: 0.19
    coupling = model.inputs.C[0, 0] * model.std[0] / model.inputs.std[0]
    assert coupling == pytest.approx(0.4, rel=0.02)


def test_inputs_that_are_not_there_are_refused(series: np.ndarray) -> None:
    with pytest.raises(UnknownChannel, match="chosen channels are x0, x1, x2"):
        run(series, input_channels=["wind"])
    with pytest.raises(InvalidParameters, match="nothing is left"):
        run(series, input_channels=["x0", "x1", "x2"])


def test_other_inputs_make_another_fingerprint(series: np.ndarray) -> None:
    """A checkpoint belongs to its inputs as well as to its observations."""
    recorder = Recorder()
    values = driven(600)
    changes = {"updates": 300, "hidden_dim": 5, "seeds": 1, "sequence_length": 20, "input_channels": ["x1"]}
    marks = []
    for k in range(2):
        changed = values.copy()
        changed[10, 1] += k
        seen: list[str] = []
        original = run_module.checkpoint.fingerprint
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_module.checkpoint, "fingerprint", lambda *a: seen.append(original(*a)) or seen[-1])  # noqa: B023
            run(changed, recorder, **changes)
        marks += seen
    assert len(set(marks)) == 2


@pytest.mark.parametrize(
    ("architecture", "forcing"),
    [
        ("lstm", {"kind": "stf", "interval_steps": 10, "spread_steps": 3, "final_interval_steps": 20}),
        ("dend-plrnn", {"kind": "gtf", "alpha": 0.5, "final_alpha": 0.1}),
    ],
)
def test_other_architectures_and_forcings_train(series: np.ndarray, architecture: str, forcing: dict) -> None:
    changes = {"architecture": architecture, "forcing": forcing, "hidden_dim": "auto", "seeds": 1, "optimizer": "adam"}
    first, history = run(series, updates=300, gradient_clip=1.0, **changes)
    second, _ = run(series, updates=300, gradient_clip=1.0, **changes)
    assert first.architecture == architecture
    assert first.to_safetensors() == second.to_safetensors()
    losses = [loss for _, loss in history.loss]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:20])


def chaotic(value: float, ci: tuple[float, float] | None = None, kind: str = "chaotic") -> SimpleNamespace:
    """What the referee reads of an analysis."""
    return SimpleNamespace(verdict=SimpleNamespace(kind=kind), lambda_max=Quantity(value=value, ci=ci, unit="1/s"))


def logistic_model(r: float) -> tuple[TrainedModel, list[np.ndarray]]:
    """z -> r z (1 - z) by linear interpolation on 400 pieces, and a run of the logistic map at r = 4."""
    knots = np.linspace(0, 1, 401)
    slopes = np.diff(r * knots * (1 - knots)) / np.diff(knots)
    params = {
        "A": np.array([slopes[0]]),
        "W1": np.diff(slopes)[None, :],
        "W2": np.ones((399, 1)),
        "h1": np.zeros(1),
        "h2": -knots[1:-1],
    }
    rows, x = [], 0.3
    for _ in range(2000):
        x = 4 * x * (1 - x)
        rows.append([x])
    one = np.ones(1)
    model = TrainedModel("shplrnn", params, {}, ["x"], 0 * one, one, [0], 0.5, "s", residual_std=0 * one)
    return model, [np.array(rows)]


def test_a_model_whose_exponent_misses_the_measured_one_scores_worse() -> None:
    model, series = logistic_model(3.999)
    observed = {
        "train": series,
        "validation": [],
        "train_signals": series,
        "validation_signals": [],
        "filter": None,
        "readouts": None,
    }
    data = SimpleNamespace(
        **observed, train_inputs=[series[0][:, :0]], validation_inputs=[], train_owners=[], validation_owners=[]
    )
    truth = np.log(2) / 0.5  # per time unit, of the logistic map at r = 4

    def judged(analysis: SimpleNamespace | None):
        return Referee(data, analysis).judge(model)

    plain, agreeing = judged(None), judged(chaotic(truth))
    assert plain.lambda_max is None
    assert agreeing.lambda_max == pytest.approx(truth, rel=0.05)
    assert agreeing.score == pytest.approx(plain.score)
    assert judged(chaotic(2 * truth)).score == pytest.approx(plain.score + 2 * (0.5 - 0.2), abs=0.05)
    assert judged(chaotic(2 * truth, ci=(truth, 3 * truth))).score == pytest.approx(plain.score, abs=0.05)
    assert judged(chaotic(2 * truth, kind="periodic")).score == pytest.approx(plain.score)
