"""Rows of `benchmarks/lyapunov.py` as a table: errors, coverage, verdicts and seconds, ours and the peers'."""

from __future__ import annotations

import numpy as np

MIN_CHAOS = 0.02  # lambda_max times mean period above which an estimator without a verdict counts as saying "chaotic"


def table(rows: list[dict]) -> list[str]:
    """One line per source, length, view, noise and estimator. An estimate that is missing counts as 100 % off and not covered.

    A reference, too, is known to its standard error only: an interval covers it where the two intervals together explain the distance.
    """
    lines = [
        f"{'source':9s} {'steps':>6s} {'view':6s} {'noise':>5s} {'estimator':25s} {'median':>9s} {'<10%':>4s} {'<25%':>4s} {'cover':>5s} "
        f"{'found':>5s} {'of':>3s}   {'false':>5s} {'of':>3s} {'seconds: median, max':>20s}"
    ]
    groups: dict[tuple, list[dict]] = {}
    for r in rows:
        groups.setdefault((r["source"], r["steps"], r["view"] != "full", r["noise"], r["estimator"]), []).append(r)
    for k in sorted(groups):
        lines += _lines(groups[k])
    return lines


def says_chaos(r: dict) -> bool:
    if "verdict" in r:
        return bool(r["verdict"] == "chaotic")
    return r["lambda_max"] is not None and bool(r["lambda_max"] * r["period"] > MIN_CHAOS)


def error(r: dict) -> float:
    """Relative error of lambda_max."""
    return 1.0 if r["lambda_max"] is None else abs(r["lambda_max"] - r["reference"][0]) / r["reference"][0]


def covers(r: dict) -> bool:
    """Whether the 95 % interval of lambda_max explains its distance from the reference, whose own is added in quadrature."""
    if not r.get("ci"):
        return False
    half = 0.5 * (r["ci"][1] - r["ci"][0])
    return bool(abs(r["lambda_max"] - r["reference"][0]) <= np.hypot(half, 1.96 * r["reference_error"][0]))


def _lines(rows: list[dict]) -> list[str]:
    chaos, controls, first = [r for r in rows if r["chaotic"]], [r for r in rows if not r["chaotic"]], rows[0]
    errors, seconds = [error(r) for r in chaos], [r["seconds"] for r in rows]
    covered = sum(covers(r) for r in chaos)
    median = f"{100 * np.median(errors):7.2f} %" if chaos else f"{'-':>9s}"
    lines = [
        f"{first['source'][:9]:9s} {first['steps']:6d} {first['view']:6s} {first['noise']:5g} {first['estimator']:25s} {median} "
        f"{sum(e <= 0.1 for e in errors):4d} {sum(e <= 0.25 for e in errors):4d} {covered if 'verdict' in first else '-':>5} "
        f"{sum(map(says_chaos, chaos)):5d} {len(chaos):3d}   {sum(map(says_chaos, controls)):5d} {len(controls):3d} "
        f"{np.median(seconds):10.2f} {max(seconds):9.1f}"
    ]
    whole = [r for r in chaos if len(r.get("spectrum") or []) == len(r["reference"]) and None not in r["spectrum"]]
    if first["view"] == "full" and whole:
        off = [_summed_error(r["spectrum"], r["reference"]) for r in whole]
        dims = [abs((r["kaplan_yorke"] or np.nan) - dimension(r["reference"])) for r in whole]
        lines.append(
            f"{'':25s} spectrum off by {100 * np.median(off):.2f} %, Kaplan-Yorke dimension by {np.nanmedian(dims):.4f} (medians)"
        )
    return lines


def _summed_error(found: list[float], truth: list[float]) -> float:
    return sum(abs(a - b) for a, b in zip(found, truth, strict=True)) / sum(map(abs, truth))


def dimension(exponents: list[float]) -> float:
    """Kaplan-Yorke dimension of descending exponents, written anew here so that it checks the analysis."""
    sums = np.cumsum(exponents)
    if not exponents or exponents[0] < 0 or sums[-1] >= 0:
        return float("nan")
    j = int(np.nonzero(sums >= 0)[0][-1])
    return float(j + 1 + sums[j] / -exponents[j + 1])
