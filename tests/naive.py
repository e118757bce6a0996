"""Slow, obvious oracles: every fast function of the science is compared with one of these, written another way."""

from __future__ import annotations

import cmath
import math

import numpy as np

# ------------------------------------------------------------------------------------------------------ measures


def histogram_divergence(x, y, edges, pseudocount=1e-5):
    """KL between dense histograms over the given bin edges, one array of edges per coordinate (numpy.histogramdd)."""
    p, q = (np.histogramdd(v[np.isfinite(v).all(axis=1)], bins=edges)[0] + pseudocount for v in (x, y))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum())


def smoothed_spectrum(values, sigma):
    """Power spectrum of one z-scored channel by the definition of the Fourier sum, smoothed by an explicit Gaussian window."""
    n = len(values)
    mean = sum(values) / n
    std = math.sqrt(sum((v - mean) ** 2 for v in values) / n)
    power = [
        abs(sum((v - mean) / std * cmath.exp(-2j * math.pi * k * t / n) for t, v in enumerate(values))) ** 2
        for k in range(n // 2 + 1)
    ]
    radius = int(4 * sigma + 0.5)
    window = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]

    def reflected(k):  # d c b a | a b c d | d c b a
        k %= 2 * len(power)
        return power[k] if k < len(power) else power[2 * len(power) - 1 - k]

    smooth = [sum(w * reflected(k + j - radius) for j, w in enumerate(window)) / sum(window) for k in range(len(power))]
    return [s / sum(smooth) for s in smooth]


def spectral_distance(x, y, sigma=20.0):
    """Mean over channels of sqrt(1 - sum sqrt(P Q)), the other form of the Hellinger distance."""
    distances = []
    for a, b in zip(x.T.tolist(), y.T.tolist(), strict=True):
        overlap = sum(
            math.sqrt(p * q) for p, q in zip(smoothed_spectrum(a, sigma), smoothed_spectrum(b, sigma), strict=True)
        )
        distances.append(math.sqrt(max(0.0, 1 - overlap)))
    return sum(distances) / len(distances)


def kaplan_yorke(exponents):
    """The zero of the piecewise-linear interpolation of S(j) = lambda_1 + ... + lambda_j beyond its last non-negative node."""
    sums = np.concatenate([[0.0], np.cumsum(sorted(exponents, reverse=True))])
    last = max(j for j in range(len(sums)) if sums[j] >= 0)
    if last == len(exponents):
        return float(last)
    return float(np.interp(0.0, [sums[last + 1], sums[last]], [last + 1, last]))


def prediction_error(model, segments, n_steps, scale):
    """Start by start, step by step, coordinate by coordinate."""
    errors = []
    for segment in segments:
        for t in range(len(segment) - n_steps):
            z = model.encode(segment[t])
            for _ in range(n_steps):
                z = model.step(z)
            errors += [
                ((a - b) / s) ** 2 for a, b, s in zip(model.observe(z), segment[t + n_steps], scale, strict=True)
            ]
    return sum(errors) / len(errors)


def first_exceedance(model, segment, start, threshold, scale, window):
    """Steps until the normalised error of one free run exceeds the threshold; None if it never does."""
    z = model.encode(segment[start])
    for k in range(1, window + 1):
        z = model.step(z)
        error = math.sqrt(
            np.mean([((a - b) / s) ** 2 for a, b, s in zip(model.observe(z), segment[start + k], scale, strict=True)])
        )
        if not error <= threshold:
            return k
    return None


def lyapunov_qr(model, z0, n_steps, n_transient):
    """Lyapunov exponents per step by Gram-Schmidt on tangent vectors, one step at a time, descending (M,) for z0 (M,)."""
    z = np.asarray(z0, float)
    m = len(z)
    frame, growth = np.eye(m), np.zeros(m)
    for t in range(n_transient + n_steps):
        if t == n_transient:
            growth = np.zeros(m)
        frame = model.jacobian(z) @ frame
        for i in range(m):
            for j in range(i):
                frame[:, i] -= (frame[:, j] @ frame[:, i]) * frame[:, j]
            length = np.linalg.norm(frame[:, i])
            growth[i] += np.log(length) if length > 0 else -np.inf
            frame[:, i] = frame[:, i] / length if length > 0 else frame[:, i]
        z = model.step(z)
    return np.sort(growth / n_steps)[::-1]


def finite_runs(values: np.ndarray) -> list[tuple[int, int]]:
    """[start, stop) of the runs of rows of (T, N) in which every value is finite, row by row."""
    runs: list[tuple[int, int]] = []
    start: int | None = None
    for t, row in enumerate(values.tolist()):
        good = all(math.isfinite(value) for value in row)
        if good and start is None:
            start = t
        if not good and start is not None:
            runs.append((start, t))
            start = None
    if start is not None:
        runs.append((start, len(values)))
    return runs


def fill_linearly(column: list[float], max_gap: int) -> list[float] | None:
    """The column with each gap filled by a straight line; None when a gap is too long or has no neighbour."""
    filled = list(column)
    for t, value in enumerate(column):
        if math.isfinite(value):
            continue
        before = next((i for i in range(t, -1, -1) if math.isfinite(column[i])), None)
        after = next((i for i in range(t, len(column)) if math.isfinite(column[i])), None)
        if before is None or after is None or after - before - 1 > max_gap:
            return None
        weight = (t - before) / (after - before)
        filled[t] = (1 - weight) * column[before] + weight * column[after]
    return filled


# ------------------------------------------------------------------------------------------------------ Lyapunov


def smooth_features(monomials, basis, x):
    """Monomials (tuples of variable numbers), Gaussian radial functions and hinges at one state, one by one."""
    values = [math.prod(x[i] for i in monomial) for monomial in monomials]
    turned = [sum(b * v for b, v in zip(row, x, strict=True)) for row in basis.turn]
    values += [
        math.exp(-basis.gamma * sum((a - b) ** 2 for a, b in zip(turned, c, strict=True))) for c in basis.centres
    ]
    values += [max(x[v] - knot, 0.0) ** basis.power for v, knot in zip(basis.knot_variables, basis.knots, strict=True)]
    return np.array(values)


def qr_log_growth(step, path, eps=1e-6):
    """Summed log |R_ii| along a path: Jacobians of single steps by central differences, orthogonalised by numpy.linalg.qr."""
    m = path.shape[1]
    q, total = np.eye(m), np.zeros(m)
    for x in path:
        jacobian = np.column_stack([(step(x + eps * e) - step(x - eps * e)) / (2 * eps) for e in np.eye(m)])
        q, r = np.linalg.qr(jacobian @ q)
        total += np.log(np.abs(np.diag(r)))
    return total


def recurrence_measures(matrix, theiler, min_line):
    """(rate, determinism, mean line, longest line) of a recurrence matrix, walking down every diagonal above the Theiler band."""
    n, lengths, pairs = len(matrix), [], 0
    for k in range(theiler + 1, n):
        run = 0
        for i in range(n - k):
            pairs += 1
            if matrix[i][i + k]:
                run += 1
            elif run:
                lengths.append(run)
                run = 0
        if run:
            lengths.append(run)
    lines = [length for length in lengths if length >= min_line]
    points = sum(lengths)
    return (
        points / pairs,
        sum(lines) / points if points else 0.0,
        sum(lines) / len(lines) if lines else 0.0,
        max(lengths, default=0),
    )


def correlation_share(references, points, rows, reference_rows, theiler, radius):
    """Share of pairs (reference, point) more than `theiler` rows apart that are nearer than the radius, pair by pair."""
    near = pairs = 0
    for a, i in zip(references, reference_rows, strict=True):
        for b, j in zip(points, rows, strict=True):
            if abs(i - j) > theiler:
                pairs += 1
                near += math.dist(a, b) < radius
    return near / pairs


def local_forecast(states, futures, query, apart, k):
    """Mean future of the k nearest states (by sorting all distances) that are more than `apart` rows away."""
    ranked = sorted((math.dist(states[query], s), j) for j, s in enumerate(states) if abs(j - query) > apart)
    return np.mean([futures[j] for _, j in ranked[:k]], axis=0)
