"""Read-outs of counts and classes: the signal that stands for them against a slow estimate, drawn values, files."""

from __future__ import annotations

import numpy as np
import pytest
from channel_cases import counted_model, read_outs, waves
from scipy.special import gammaln

from domain.errors import InvalidParameters
from dynamics.distributions import BANDWIDTHS
from models import TrainedModel
from models.intensity import last_log_intensity, left_out, log_intensity, reach
from models.readouts import Channel, log_factorial


def slow_log_intensity(events: np.ndarray, t: int, h: float, mean: float) -> float:
    """A weighted Poisson regression on the distance from t: its constant fit, and one step of Fisher scoring for the slope."""
    k = np.arange(len(events)) - t
    w = np.where(np.abs(k) <= reach(h), np.exp(-((k / h) ** 2) / 2), 0.0)
    rate = (w @ events + 0.5) / (w.sum() + 0.5 / mean)
    centre = w @ k / w.sum()
    score = w @ ((k - centre) * (events - w @ events / w.sum()))
    information = rate * (w @ (k - centre) ** 2) + h**2
    return float(np.log(rate) - score / information * centre)


@pytest.mark.parametrize(("n", "h"), [(120, 4.0), (30, 4.0), (9, 8.0), (60, 0.5)])
def test_intensity_equals_a_slow_estimate(n: int, h: float) -> None:
    events = np.random.default_rng(n).poisson(1.5, n)
    found = log_intensity(events, h, 1.4)
    np.testing.assert_allclose(found, [slow_log_intensity(events, t, h, 1.4) for t in range(n)], rtol=1e-12, atol=1e-13)
    contexts = np.stack([events, events[::-1]])
    np.testing.assert_allclose(last_log_intensity(contexts, h, 1.4), [found[-1], found[0]], rtol=1e-12, atol=1e-13)
    without = events.astype(float)
    without[5] = 100
    assert left_out(events, h, 1.4)[5] == pytest.approx(left_out(without, h, 1.4)[5])


def test_log_factorial_equals_scipy() -> None:
    counts = np.array([0, 1, 2, 255, 256, 300, 12_345, 1e6])
    np.testing.assert_allclose(log_factorial(counts), gammaln(counts + 1), rtol=1e-14)


def test_signals_follow_what_made_the_counts() -> None:
    values, log_rate, predictor = waves(6000, 0)
    readouts = read_outs(values)
    assert readouts.n_coordinates == 5
    assert [c.levels for c in readouts.channels] == [[], [], [1, 2, 3], [0, 10, 20]]
    assert all(c.bandwidth in BANDWIDTHS[5:] for _, c in readouts.others)
    rows = readouts.rows(values)
    np.testing.assert_array_equal(readouts.values(rows), values)
    signals = readouts.signals(rows)
    np.testing.assert_array_equal(signals[:, 0], values[:, 0])
    at = readouts.channels[1].first
    found = readouts.predictor(signals, readouts.channels[1])[:, 0]
    assert np.sqrt(np.mean((found - log_rate) ** 2)) < 0.2  # of a log rate of std 0.7
    assert np.corrcoef(readouts.predictor(signals, readouts.channels[2])[:, 0], predictor)[0, 1] > 0.95
    assert np.corrcoef(signals[:, 3], np.sin(np.arange(6000) / 40))[0, 1] > 0.85
    last = readouts.last_signal(rows[100 - readouts.context_steps : 100])
    np.testing.assert_allclose(last, readouts.signals(rows[:100])[-1], rtol=1e-10)
    assert at == 1


def test_scatter_is_the_error_of_a_constant_rate() -> None:
    """Where the rate is constant all that a signal does is scatter."""
    values = waves(4000, 2)[0]
    readouts = read_outs(values)
    rng = np.random.default_rng(3)
    values[:, 1], values[:, 2] = rng.poisson(3.0, 4000), rng.integers(1, 4, 4000)
    rows = readouts.rows(values)
    found, signals = readouts.scatter(rows), readouts.signals(rows)
    np.testing.assert_allclose(found[1:3], signals[:, 1:3].std(axis=0), rtol=0.15)
    assert found[0] == 0


def test_draws_have_the_probabilities_that_are_said() -> None:
    readouts = read_outs(waves(3000, 1)[0])
    u, cuts = np.array([0.3, 0.2, -0.1, 0.2, -0.2]), np.array([-1.0, 1.5])
    drawn = readouts.draw(np.broadcast_to(u, (40_000, 5)), cuts, np.random.default_rng(0))
    for _, channel in readouts.others:
        each = np.unique(drawn[:, channel.coordinates], axis=0)
        likely = np.exp(
            readouts.log_likelihood(np.broadcast_to(u, (len(each), 5)), _rows(channel, each), channel, cuts)
        )
        shares = [np.all(drawn[:, channel.coordinates] == row, axis=1).mean() for row in each]
        np.testing.assert_allclose(likely, shares, atol=4 * 0.5 / np.sqrt(40_000))
        assert likely.sum() == pytest.approx(1, abs=1e-3)
    assert readouts.means(u, cuts)[1] == pytest.approx(drawn[:, 1].mean(), rel=0.02)


def _rows(channel: Channel, part: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(part), 5))
    rows[:, channel.coordinates] = part
    return rows


def test_files_keep_read_outs() -> None:
    model = counted_model()
    data = model.to_safetensors()
    again = TrainedModel.from_safetensors(data)
    assert again.to_safetensors() == data
    values = waves(200, 3)[0]
    rows = again.embed(values)
    context = rows[None, : model.context_rows]
    np.testing.assert_array_equal(again.launch(context), model.launch(context))
    np.testing.assert_allclose(again.values(rows), values)
    values[7, 2] = 4
    with pytest.raises(
        InvalidParameters, match="The value 4 of stage in row 7 is none that the model knows: ordinal, 1, 2, 3"
    ):
        again.embed(values)
