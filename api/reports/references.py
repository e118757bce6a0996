"""The sources of the methods that a report's numbers come from: those that were used, and no others."""

from __future__ import annotations

from typing import Any

from models import ARCHITECTURES

_HESS = "Hess et al. 2023, Generalized teacher forcing for learning chaotic dynamics, ICML"
_MIKHAEIL = "Mikhaeil et al. 2022, On the difficulty of learning chaotic dynamics with RNNs, NeurIPS"
_BENETTIN = "Benettin et al. 1980, Lyapunov characteristic exponents for smooth dynamical systems, Meccanica 15"
_KOPPE = "Koppe et al. 2019, Identifying nonlinear dynamical systems via generative recurrent neural networks, PLoS Comput Biol 15"
_METHODS = {
    "fitted-model": _BENETTIN,
    "neighbor-divergence": "Rosenstein et al. 1993, Calculating largest Lyapunov exponents from small data sets, Physica D 65",
    "local-jacobians": "Sano & Sawada 1985, Measurement of the Lyapunov spectrum from a chaotic time series, Phys Rev Lett 55",
}
_EVIDENCE = {
    "zero-one-test": "Gottwald & Melbourne 2009, On the implementation of the 0-1 test for chaos, SIAM J Appl Dyn Syst 8",
    "surrogates": "Theiler et al. 1992, Testing for nonlinearity in time series: the method of surrogate data, Physica D 58",
    "stationarity": "Kennel 1997, Statistical test for dynamical nonstationarity in observed time-series data, Phys Rev E 56",
    "correlation-dimension": "Grassberger & Procaccia 1983, Characterization of strange attractors, Phys Rev Lett 50",
}
_OPTIMIZERS = {
    "radam": "Liu et al. 2020, On the variance of the adaptive learning rate and beyond, ICLR",
    "adam": "Kingma & Ba 2015, Adam: a method for stochastic optimization, ICLR",
    "adamw": "Loshchilov & Hutter 2019, Decoupled weight decay regularization, ICLR",
}
_TAKENS = "Takens 1981, Detecting strange attractors in turbulence, Lecture Notes in Mathematics 898"
_KAPLAN_YORKE = (
    "Kaplan & Yorke 1979, Chaotic behavior of multidimensional difference equations, Lecture Notes in Mathematics 730"
)
_PATHAK = (
    "Pathak et al. 2018, Model-free prediction of large spatiotemporally chaotic systems from data, Phys Rev Lett 120"
)
_CRAVEN = "Craven & Wahba 1979, Smoothing noisy data with spline functions, Numer Math 31"


def references(model: dict[str, Any], analysis: dict[str, Any] | None) -> list[str]:
    """In alphabetical order, each once."""
    found = set(_of_analysis(analysis)) if analysis else set()
    settings, report = model["training"].get("settings", {}), model["report"]
    if model["architecture"] in ARCHITECTURES:
        found.add(ARCHITECTURES[model["architecture"]].citation)
    found |= {_MIKHAEIL} if model["forcing"].get("kind") == "stf" else set()
    found |= {_HESS} if model["forcing"].get("kind") == "gtf" else set()
    found |= {_OPTIMIZERS[settings["optimizer"]]} if settings.get("optimizer") in _OPTIMIZERS else set()
    found |= {_CRAVEN} if any(settings.get("smoothing") or ()) else set()
    found |= {_KOPPE, _HESS} if report["d_stsp"].get("value") is not None else set()
    found |= {_MIKHAEIL} if report["d_h"].get("value") is not None else set()
    found |= {_PATHAK} if report["valid_prediction_time"].get("median_time") is not None else set()
    found |= {_BENETTIN} if report["lyapunov_spectrum"]["exponents"] else set()
    found |= {_KAPLAN_YORKE} if report["kaplan_yorke_dimension"].get("value") is not None else set()
    found |= {_TAKENS} if len(model["lags"]) > 1 else set()
    # A citation of a work is left out where another names a place in the same work.
    return sorted(one for one in found if not any(other != one and other.startswith(one) for other in found))


def _of_analysis(analysis: dict[str, Any]) -> list[str]:
    found = [_METHODS[m["method"]] for m in analysis.get("methods", []) if m["method"] in _METHODS]
    found += [_EVIDENCE[e["test"]] for e in analysis["verdict"]["evidence"] if e["test"] in _EVIDENCE]
    found += [_KAPLAN_YORKE] if analysis["kaplan_yorke_dimension"].get("value") is not None else []
    found += [_TAKENS] if analysis["embedding"]["kind"] != "none" else []
    return found
