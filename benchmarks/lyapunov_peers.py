"""What other packages say about lambda_max of a series, with their defaults. Packages that are not installed are left out."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import signal
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Peer:
    """One estimator of another package; `view`: what it can take, "scalar" the first coordinate, "full" all of them."""

    package: str
    view: str
    estimate: Callable[[np.ndarray], float]  # of (T, N), per step


@functools.cache
def _nolds() -> types.ModuleType:
    """nolds.measures without the package's __init__, which loads a data file in a way that Python 3.11 refuses (0.6.3)."""
    found = importlib.util.find_spec("nolds")
    if found is None:
        raise ModuleNotFoundError("nolds")
    package = types.ModuleType("nolds")
    package.__path__ = list(found.submodule_search_locations or [])
    sys.modules["nolds"] = package
    return importlib.import_module("nolds.measures")


def _neurokit(x: np.ndarray, method: str) -> float:
    return float(importlib.import_module("neurokit2").complexity_lyapunov(x[:, 0], method=method)[0])


def _dysts(x: np.ndarray) -> float:
    return float(importlib.import_module("dysts.analysis").max_lyapunov_exponent_rosenstein(x))


PEERS = {
    "NeuroKit2 rosenstein1993": Peer("neurokit2", "scalar", lambda x: _neurokit(x, "rosenstein1993")),
    "nolds lyap_r": Peer("nolds", "scalar", lambda x: float(_nolds().lyap_r(x[:, 0]))),
    "nolds lyap_e": Peer("nolds", "scalar", lambda x: float(np.max(_nolds().lyap_e(x[:, 0])))),
    "dysts rosenstein": Peer("dysts", "full", _dysts),
    "NeuroKit2 makowski": Peer("neurokit2", "scalar", lambda x: _neurokit(x, "makowski")),
}


def installed() -> dict[str, str | None]:
    """Version of every package, None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted({p.package for p in PEERS.values()}):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


class Overtime(Exception):
    """A peer used up its CPU seconds."""


@contextmanager
def _capped(seconds: float) -> Iterator[None]:
    """Raises Overtime in the main thread after that many CPU seconds of this process."""

    def stop(*_: object) -> None:
        raise Overtime(f"more than {seconds:g} CPU seconds")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def estimate(label: str, x: np.ndarray, cap: float) -> tuple[float | None, str | None]:
    """lambda_max per step of (T, N), or the reason why there is none: packages fail in their own ways on some series."""
    with warnings.catch_warnings(), _capped(cap):
        warnings.simplefilter("ignore")
        try:
            value = PEERS[label].estimate(x)
        except (Overtime, TypeError, ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError) as reason:
            return None, f"{type(reason).__name__}: {reason}"
    return (value, None) if np.isfinite(value) else (None, "not finite")
