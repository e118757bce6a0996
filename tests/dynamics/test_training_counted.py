"""Channels of counts and classes in training: likelihoods against other libraries, gradients against float64 autograd, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from channel_cases import ALL_KINDS, counted_problem, random_values
from pydantic import ValidationError
from scipy import stats
from training_cases import NAMES, random_theta

from domain.errors import ConstantSeries, DomainError, InvalidParameters, UnknownChannel
from domain.specs import TrainSpec
from dynamics.distributions import check_trained, declared
from dynamics.kernels.block import loss_and_gradient
from dynamics.kernels.lanes import LANES
from dynamics.kernels.likelihoods import GAUSSIAN_VARIANCE
from dynamics.training.engine import CompiledEngine
from dynamics.training.reference import ReferenceEngine, forcing_strengths, misfit, sequence_loss
from dynamics.training.schedule import forcing_schedule
from dynamics.training.splitmix import SplitMix64
from models import ARCHITECTURES

STEPS = 21
FORCINGS: dict[str, dict[str, Any]] = {
    "none": {"kind": "none"},
    "gtf": {"kind": "gtf", "alpha": 0.3},
    "stf": {"kind": "stf", "interval_steps": 4},
}


def disagreement(architecture: str, kinds: tuple[str, ...], k: int, **changes: Any) -> tuple[float, float]:
    """Relative errors of the kernels' loss and gradient against float64 autograd, of sequences of recorded rows."""
    settings, data = counted_problem(architecture, kinds, k, sequence_length=STEPS, **changes)
    engine, theta, n = CompiledEngine(settings, data), random_theta(settings, data), data.n_observed
    buffers, gradient = engine.workspace(engine.learner(1))
    rng = np.random.default_rng(2)
    starts = data.starts[rng.integers(0, len(data.starts), LANES)]
    buffers.x[:] = np.stack([data.series[s : s + STEPS + 1] for s in starts], axis=2).ravel()
    buffers.drive[:] = rng.standard_normal(buffers.drive.size)
    buffers.given[:] = rng.standard_normal(buffers.given.size)
    buffers.weight[:] = 1
    interval = float(settings.forcing.interval_steps)
    strengths = forcing_strengths(settings, settings.forcing.alpha, interval, SplitMix64(np.array([11], np.uint64)))
    buffers.strength[:] = strengths
    loss = loss_and_gradient(engine.tag, theta, engine.sizes, buffers, gradient)

    def batch(flat: np.ndarray, width: int) -> torch.Tensor:
        return torch.tensor(flat.astype(np.float64).reshape(STEPS + 1, width, LANES)).permute(0, 2, 1)

    exact = torch.tensor(theta.astype(np.float64), requires_grad=True)
    drive = batch(buffers.drive, k) if k else None
    strengths = [float(a) for a in buffers.strength]  # float32 rounds alpha
    given = batch(buffers.given, n)
    expected = sequence_loss(
        settings, exact, batch(buffers.x, n), strengths, given, drive=drive, readouts=data.readouts
    )
    expected.backward()
    truth = exact.grad.numpy()
    return (
        abs(loss - expected.item()) / expected.item(),
        float(np.linalg.norm(gradient - truth) / np.linalg.norm(truth)),
    )


@pytest.mark.parametrize("forcing", sorted(FORCINGS))
@pytest.mark.parametrize("architecture", NAMES)
def test_gradients_equal_autograd(architecture: str, forcing: str) -> None:
    cases = [(ALL_KINDS, "affine", 1), (("poisson", "ordinal"), "affine", 0)]
    if not ARCHITECTURES[architecture].squashed:
        cases.append((("categorical", "ordinal"), "identity", 1))
    found = {
        (kinds, kind): disagreement(architecture, kinds, k, forcing=FORCINGS[forcing], observation={"kind": kind})
        for kinds, kind, k in cases
    }
    assert {case: errors for case, errors in found.items() if max(errors) > 1e-10} == {}


@pytest.mark.parametrize("architecture", ["clipped-shplrnn", "lstm"])
def test_gradients_in_single_precision(architecture: str) -> None:
    errors = disagreement(
        architecture, ALL_KINDS, 1, precision="float32", forcing=FORCINGS["gtf"], observation={"kind": "affine"}
    )
    assert max(errors) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {
            "batch_size": 20,
            "forcing": {"kind": "gtf", "alpha": 0.2},
            "regularization": {"noise": 0.1, "smoothing": "off"},
        },
        {"batch_size": 5, "forcing": {"kind": "stf", "interval_steps": 4}, "gradient_clip": 0.5},
        {"forcing": {"kind": "gtf", "alpha": 0.05, "adaptive": True}},
    ],
)
def test_whole_updates_equal_the_reference(changes: dict[str, Any]) -> None:
    settings, data = counted_problem("clipped-shplrnn", ALL_KINDS, 1, rows=120, sequence_length=9, **changes)
    alphas, intervals = forcing_schedule(settings.forcing, 0, 12, 12)
    outcomes = []
    for engine in (CompiledEngine(settings, data), ReferenceEngine(settings, data)):
        learner = engine.learner(3)
        done, losses = engine.advance(learner, engine.workspace(learner), 0, np.full(12, 1e-2), alphas, intervals)
        assert done == 12
        outcomes.append((learner.theta, losses))
    np.testing.assert_allclose(outcomes[0][1], outcomes[1][1], rtol=1e-8)
    np.testing.assert_allclose(outcomes[0][0], outcomes[1][0], rtol=1e-6, atol=1e-8)


def test_losses_are_those_of_torch_and_scipy() -> None:
    """Twice the negative log-likelihoods by torch's and SciPy's own functions, less those of a saturated model."""
    _, data = counted_problem("clipped-shplrnn", ALL_KINDS, observation={"kind": "affine"})
    readouts, rng = data.readouts, np.random.default_rng(3)
    assert readouts is not None
    x = data.series[:50]
    u = rng.standard_normal(x.shape)
    cuts = np.array([-1.0, 0.2, 1.5])
    free = torch.tensor(np.concatenate([cuts[:1], np.log(np.diff(cuts))]))
    found = misfit(readouts, free, torch.tensor(u), torch.tensor(x)).item()

    eta = readouts.offset + readouts.scale * u
    functional = torch.nn.functional
    rates, counts = torch.tensor(eta[:, 1]), torch.tensor(x[:, 1])
    poisson = functional.poisson_nll_loss(rates, counts, log_input=True, reduction="sum").item()
    poisson -= np.sum(np.where(x[:, 1] > 0, x[:, 1] - x[:, 1] * np.log(np.maximum(x[:, 1], 1)), 0))
    bounds = np.concatenate([[-np.inf], cuts, [np.inf]])
    y = x[:, 2].astype(int)
    ordinal = -np.sum(np.log(stats.logistic.cdf(bounds[y + 1] - eta[:, 2]) - stats.logistic.cdf(bounds[y] - eta[:, 2])))
    logits = torch.tensor(np.hstack([np.zeros((50, 1)), eta[:, 3:]]))
    classes = torch.tensor((x[:, 3:] @ [1, 2]).astype(int))
    categorical = functional.cross_entropy(logits, classes, reduction="sum").item()
    squares = np.sum((u[:, 0] - x[:, 0]) ** 2)
    assert found == pytest.approx(squares + GAUSSIAN_VARIANCE * 2 * (poisson + ordinal + categorical), rel=1e-12)

    own = [readouts.log_likelihood(u, x, channel, cuts).sum() for _, channel in readouts.others]
    exact = [stats.poisson.logpmf(x[:, 1], np.exp(eta[:, 1])).sum(), -ordinal, -categorical]
    np.testing.assert_allclose(own, exact, rtol=1e-12)


CHANNELS = ["x", "n", "stage"]


def train_spec(**changes: Any) -> TrainSpec:
    return TrainSpec.model_validate({"channel_distributions": {"n": "poisson", "stage": "ordinal"}} | changes)


@pytest.mark.parametrize(
    ("row", "column", "value", "says"),
    [
        (13, 1, 2.5, "The value 2.5 of channel 'n' in row 113 is no count: poisson needs integers from 0"),
        (14, 1, -1.0, "The value -1 of channel 'n' in row 114 is no count"),
        (15, 1, 3e6, "is more than 1e+06"),
        (16, 2, 0.5, "The value 0.5 of channel 'stage' in row 116 is no class: ordinal needs integers"),
    ],
)
def test_what_is_no_count_or_class_is_named(row: int, column: int, value: float, says: str) -> None:
    values = random_values(("gaussian", "poisson", "ordinal"), 200, np.random.default_rng(0))
    values[row, column] = value
    with pytest.raises(InvalidParameters, match="channel") as refused:
        declared(train_spec(), CHANNELS, [(0, values[:0]), (100, values)], "/params/train")
    assert says in refused.value.detail
    assert refused.value.errors[0].rows == [100 + row]
    assert refused.value.errors[0].pointer == f"/params/train/channel_distributions/{CHANNELS[column]}"


def test_too_many_classes_are_refused() -> None:
    values = random_values(("gaussian", "poisson", "ordinal"), 200, np.random.default_rng(0))
    values[:, 2] = np.arange(200) % 21
    with pytest.raises(InvalidParameters, match="has 21 different values; ordinal takes at most 20"):
        declared(train_spec(), CHANNELS, [(0, values)])
    with pytest.raises(UnknownChannel, match=r"no observed channel 'n' .* the observed channels are x, stage"):
        declared(train_spec(), ["x", "stage"], [(0, values[:, [0, 2]])])


def test_training_rows_must_show_every_class() -> None:
    values = random_values(("gaussian", "poisson", "ordinal"), 200, np.random.default_rng(0))
    values[180:, 2] = 9
    channels = declared(train_spec(), CHANNELS, [(0, values)])
    assert channels[2].levels == [1, 2, 3, 4, 9]
    with pytest.raises(InvalidParameters, match="Class 9 of channel 'stage' is in no row of the training part"):
        check_trained(channels, CHANNELS, [(0, values[:150])])
    values[:150, 1] = 4
    with pytest.raises(ConstantSeries, match="Channel n does not vary in the training part: it is 4 throughout"):
        check_trained(channels, CHANNELS, [(0, values[:150])])


@pytest.mark.parametrize(
    "changes",
    [
        {"observation": {"kind": "convolutional"}},
        {"nuisance_channels": ["r"]},
        {"recording_dim": 1},
        {"embedding_lags": [0, 1]},
        {"input_channels": ["n"]},
        {"channel_distributions": {"n": "binomial"}},
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, DomainError)) as refused:
        train_spec(**changes)
    assert "channel_distributions" in str(refused.value)
