"""Kernels, convolution and deconvolution against scipy, numpy and the covariances written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma

from models.filters import Filter, convolve, exponential, haemodynamic


@pytest.mark.parametrize("repetition_time", [0.1, 0.5, 0.72, 1.4, 2.0, 3.0])
def test_the_haemodynamic_response_is_the_published_one(repetition_time: float) -> None:
    """Delays 6 and 16 s, dispersions 1, ratio 1/6, 32 s (SPM12, spm_hrf)."""
    t = np.arange(0, 32 + 1e-9, repetition_time)
    expected = gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6
    kernel = haemodynamic(repetition_time)
    np.testing.assert_allclose(kernel, expected / expected.sum(), atol=1e-14)
    assert kernel.sum() == pytest.approx(1)
    assert t[kernel.argmax()] == pytest.approx(5.0, abs=repetition_time)  # the mode of the first density is 5 s
    assert 13 < t[kernel.argmin()] < 18


def test_an_exponential_kernel_falls_by_e_in_its_decay_time() -> None:
    kernel = exponential(7.0)
    assert kernel[7] / kernel[0] == pytest.approx(np.exp(-1))
    assert len(kernel) == 36
    assert kernel.sum() == pytest.approx(1)


@pytest.mark.parametrize("n", [40, 64, 200])
def test_convolution_is_numpys(n: int) -> None:
    rng = np.random.default_rng(n)
    kernel, states = rng.standard_normal(17), rng.standard_normal((n, 2, 3))
    expected = np.stack([np.convolve(c, kernel, "valid") for c in states.reshape(n, -1).T], axis=1)
    np.testing.assert_allclose(convolve(kernel, states).reshape(len(expected), -1), expected, atol=1e-12)


def problem(n: int) -> tuple[Filter, np.ndarray, np.ndarray]:
    """A filter, AR(1) states and what it shows of them."""
    rng = np.random.default_rng(3)
    kernel, persistence, quality = haemodynamic(2.0), np.array([0.6, 0.9]), np.array([400.0, 2500.0])
    z = np.zeros((n + len(kernel) - 1, 2))
    for t in range(1, len(z)):
        z[t] = persistence * z[t - 1] + np.sqrt(1 - persistence**2) * rng.standard_normal(2)
    noise = 1 / np.sqrt(quality)
    x = convolve(kernel, z) + noise * rng.standard_normal((n, 2))
    return Filter(kernel, persistence, quality, noise).with_cut(), z, x


def test_deconvolution_is_the_conditional_mean() -> None:
    filter, z, x = problem(50)
    length = filter.steps
    found = filter.histories(x)
    for c in range(2):
        lag = np.abs(np.subtract.outer(np.arange(len(z)), np.arange(len(z))))
        prior = filter.persistence[c] ** lag
        shows = np.array([[filter.kernel[t + length - 1 - s] if 0 <= t + length - 1 - s < length else 0.0
                           for s in range(len(z))] for t in range(50)])  # fmt: skip
        own = shows @ prior @ shows.T + np.eye(50) / filter.signal_to_noise[c]
        np.testing.assert_allclose(found[:, c], prior @ shows.T @ np.linalg.inv(own) @ x[:, c], atol=1e-8)
    assert found.shape == z.shape


def test_long_series_are_deconvolved_as_if_at_once_and_the_ends_are_cut() -> None:
    filter, z, x = problem(900)
    found = filter.deconvolve(x)
    np.testing.assert_allclose(found, filter.histories(x)[filter.steps - 1 :], atol=2e-3)
    truth, (left, right) = z[filter.steps - 1 :], filter.cut
    error = ((found - truth) ** 2).mean(axis=1)
    assert 1 <= right <= filter.steps
    assert error[len(error) - right :].mean() > 2 * error[left : len(error) - right].mean()
    for c in range(2):
        assert (
            np.corrcoef(found[left:-right, c], truth[left:-right, c])[0, 1]
            > np.corrcoef(x[:, c], truth[:, c])[0, 1] + 0.1
        )


@pytest.mark.parametrize("lead", [0, 3])
def test_what_is_left_in_doubt_is_the_conditional_covariance(lead: int) -> None:
    """Against conditioning written out: states and rows are jointly normal, x = H z + noise."""
    n, kernel, a, quality, noise = 12, np.array([0.5, 0.3, 0.15, 0.05]), 0.8, 20.0, 0.3
    length = len(kernel)
    filter = Filter(kernel, np.array([a]), np.array([quality]), np.array([noise]))
    states = np.arange(n + length - 1)
    prior = quality * noise**2 * a ** np.abs(states[:, None] - states)
    seen = np.zeros((n, n + length - 1))
    for t in range(n):
        for k in range(length):
            seen[t, t + length - 1 - k] = kernel[k]
    rows = seen @ prior @ seen.T + noise**2 * np.eye(n)
    left = prior - prior @ seen.T @ np.linalg.inv(rows) @ seen @ prior
    stop = n + length - 1 - lead
    root = filter.doubts(n, lead)[0]
    np.testing.assert_allclose(root @ root.T, left[stop - length : stop, stop - length : stop], atol=1e-12)
