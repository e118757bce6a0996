"""Figures of exponents: the spectrum, by which method, how they converge, how neighbours part."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.catalogue import Definition, Sources
from figures.parts import Axis, Band, Figure, Line, Mark, Panel, Points, Reference, Region, Role, array
from figures.words import interval, num, quantity, rate, scale_for, subscript, time_axis, with_unit

METHODS = {
    "fitted-model": "Smooth model, fitted",
    "neighbor-divergence": "Divergence of neighbours",
    "local-jacobians": "Local-linear Jacobians",
    "network-jacobians": "Trained network's Jacobians",
}
SHIFT = 0.16  # of the distance of two exponents, between sources
MANY = 12  # exponents of which each is numbered
FOLLOWED = 6  # exponents whose convergence is drawn
_ROLES: tuple[Role, ...] = ("data", "model", "third", "fourth", "fifth", "muted")


def spectra_panel(sources: list[tuple[str, dict[str, Any], Role]], marks: list[Mark] | None = None) -> Panel:
    """Exponents of several (name, spectrum, role) side by side, each with its intervals."""
    given = [(name, s, role) for name, s, role in sources if s.get("exponents")]
    everything = [array(s["exponents"]) for _, s, _ in given]
    everything += [array([v for pair in s.get("ci") or [] for v in pair or ()]) for _, s, _ in given]
    values = np.concatenate(everything)
    scale = scale_for(values, max(float(np.abs(array(s["exponents"][:1])).max()) for _, s, _ in given))
    unit, count = given[0][1]["unit"], max(len(s["exponents"]) for _, s, _ in given)
    drawn: list[Mark] = [Reference(0.0, "y", "muted", dash="dot")]
    symbols = ("circle", "square", "diamond")
    for k, (name, spectrum, role) in enumerate(given):
        exponents = array(spectrum["exponents"])
        pairs = [p or (np.nan, np.nan) for p in spectrum.get("ci") or [None] * len(exponents)]
        low, high = array([p[0] for p in pairs]), array([p[1] for p in pairs])
        texts = [
            f"{name}: λ{subscript(i + 1)} = {with_unit(v, unit)}\n{interval(ci, spectrum.get('level'))}".strip()
            for i, (v, ci) in enumerate(zip(spectrum["exponents"], spectrum.get("ci") or [None] * count, strict=False))
        ]
        x = np.arange(1, len(exponents) + 1) + (k - (len(given) - 1) / 2) * 2 * SHIFT * (len(given) > 1)
        size = 9.0 if count <= MANY else 5.0
        drawn.append(
            Points(
                x,
                scale(exponents),
                role,
                name,
                symbol=symbols[k % len(symbols)],
                size=size,
                low=scale(low),
                high=scale(high),
                texts=texts,
            )
        )
    every = 1 if count <= MANY else -(-count // 10)
    ticks = [(float(i), f"λ{subscript(i)}") for i in range(1, count + 1, every)]
    return Panel(
        x=Axis("exponent, from the largest down", limits=(0.5, count + 0.5), ticks=ticks),
        y=scale.axis(rate(unit), values),
        marks=drawn + (marks or []),
    )


def _spectrum(sources: Sources) -> Figure:
    analysis = sources.document
    spectrum, diagnostics = analysis["lyapunov_spectrum"], analysis["diagnostics"]
    level = 100 * (spectrum.get("level") or 0.9)
    shown: list[tuple[str, dict[str, Any], Role]] = [(f"trusted, with {level:.0f} % interval", spectrum, "data")]
    if along := diagnostics.get("exponents_along_data"):
        k, unit = len(spectrum["exponents"]), spectrum["unit"]
        shown.append(("the fitted model along the data", {"exponents": along[:k], "unit": unit}, "third"))
    said = f"{quantity(analysis['lambda_max'], 'λ₁')}; {quantity(analysis['kaplan_yorke_dimension'], 'Kaplan–Yorke dimension')}"
    return Figure(
        "Lyapunov spectrum of the data",
        f"{said}. Above zero neighbouring states part, below they approach.",
        [spectra_panel(shown)],
        size=(760, 470),
    )


def _no_spectrum(analysis: dict[str, Any]) -> str | None:
    if any(v is not None for v in analysis["lyapunov_spectrum"]["exponents"]):
        return None
    return analysis["lyapunov_spectrum"].get("reason") or "The analysis found no exponents."


def _methods(sources: Sources) -> Figure:
    """A forest plot: one row per method."""
    methods = sources.document["methods"]
    unit, ticks = sources.document["lambda_max"]["unit"], []
    marks: list[Mark] = []
    for i, method in enumerate(methods):
        found, y = method["lambda_max"], -float(i)
        apart = "" if method.get("distance") is None else f"\n{num(method['distance'], 2)} standard errors apart"
        label = METHODS.get(method["method"], method["method"]) + ("\n(trusted)" if method["trusted"] else apart)
        ticks.append((y, label if found["value"] is not None else f"{label}\n(no value)"))
        if found["value"] is None:
            continue
        trusted, ci = method["trusted"], found.get("ci") or (np.nan, np.nan)
        if trusted and found.get("ci"):
            marks.append(Region(ci[0], ci[1], "x", "data", "interval of the trusted method", 0.12))
        marks.append(
            Points(
                array([found["value"]]),
                array([y]),
                "data" if trusted else "model",
                "trusted" if trusted else "not trusted, for comparison",
                symbol="circle" if trusted else "square",
                size=11.0,
                hollow=not trusted,
                low=array([ci[0]]),
                high=array([ci[1]]),
                bars="x",
                texts=[f"{quantity(found, 'λ₁')}\n{method['why']}"],
            )
        )
    marks.append(Reference(0.0, "x", "muted", "no divergence", "dot"))
    trusted_one = next((m for m in methods if m["trusted"]), None)
    why = f"{METHODS.get(trusted_one['method'])}: {trusted_one['why']}" if trusted_one else "No method is trusted."
    return Figure(
        "The largest exponent by every method",
        why,
        [
            Panel(
                Axis(rate(unit).replace("λ", "λ₁")),
                Axis("", limits=(0.6 - len(methods), 0.6), ticks=ticks[::-1]),
                marks,
            )
        ],
        size=(860, 190 + 85 * len(methods)),
    )


def _no_methods(analysis: dict[str, Any]) -> str | None:
    methods = analysis.get("methods") or []
    if any(m["lambda_max"]["value"] is not None for m in methods):
        return None
    if methods:
        return f"No method gives a value: {methods[0]['lambda_max'].get('reason') or methods[0]['why']}"
    return "This analysis is older than the comparison of methods: run it again."


def _divergence(sources: Sources) -> Figure:
    analysis = sources.document
    found = analysis["diagnostics"]["divergence"]
    x, y = array(found["steps"]) * found["dt"], array(found["mean_log_distance"])
    first, last = found["fit_first_step"] * found["dt"], found["fit_last_step"] * found["dt"]
    inside = (x >= first) & (x <= last)
    level = float(np.mean(y[inside] - found["slope"] * x[inside])) if inside.any() else 0.0
    error = found["slope_error"] / found["dt"]
    marks: list[Mark] = [
        Region(first, last, "x", "model", "fitted region", 0.12),
        Line(x, y, "data", f"mean over {found['pairs']:,} pairs of neighbours", width=2.0),
        Line(
            x[inside],
            level + found["slope"] * x[inside],
            "model",
            f"slope {num(found['slope'])} ± {num(error, 2)} {found['unit']} (R² {found['r_squared']:.3f})",
            dash="dash",
            width=2.2,
        ),
    ]
    unit = analysis["predictability"]["unit"]
    return Figure(
        "How neighbouring states part",
        "The slope of the straight region estimates λ₁; the curve bends where the attractor's own size is reached. Noise makes "
        "neighbours part, too.",
        [Panel(time_axis(unit, tight=True), Axis("mean ln distance (nats)"), marks)],
        size=(820, 470),
    )


def _no_divergence(analysis: dict[str, Any]) -> str | None:
    if analysis["diagnostics"].get("divergence"):
        return None
    return "No divergence of neighbours was measured: too few pairs that are apart in time and farther than the noise."


def _convergence(sources: Sources) -> Figure:
    analysis = sources.document
    found, spectrum = analysis["diagnostics"]["convergence"], analysis["lyapunov_spectrum"]
    time = array([c["time"] for c in found])
    running = array([c["exponents"][:FOLLOWED] for c in found])
    final = running[-1]
    scale = scale_for(running, float(final[0]))
    marks: list[Mark] = [Reference(0.0, "y", "muted", dash="dot")]
    for i in range(running.shape[1]):
        role, name = _ROLES[i % len(_ROLES)], f"λ{subscript(i + 1)} → {num(float(final[i]))}"
        ci = (spectrum.get("ci") or [])[i : i + 1]
        if ci and ci[0] and spectrum["exponents"]:
            low, high = (np.full(2, float(scale(np.array(v)))) for v in ci[0])
            marks.append(Band(time[[0, -1]], low, high, role, "", 0.15))
        marks.append(Line(time, scale(running[:, i]), role, name, width=2.0))
    shaded = "Shaded: the intervals of the analysis. " if spectrum.get("ci") else ""
    unit = analysis["predictability"]["unit"]
    return Figure(
        "Convergence of the exponents",
        f"Running mean of the growth along the fitted model's path. {shaded}A curve that still drifts at its end was "
            "not followed for long enough.",
        [Panel(Axis(time_axis(unit).label.replace("time", "averaging time"), log=True, tight=True), scale.axis(rate(spectrum["unit"]), running), marks)],
        size=(820, 480),
    )  # fmt: skip


def _no_convergence(analysis: dict[str, Any]) -> str | None:
    return (
        None
        if len(analysis["diagnostics"].get("convergence") or []) > 1
        else "No running mean of the exponents is stored."
    )


def _local_jacobians(sources: Sources) -> Figure:
    analysis = sources.document
    found, spectrum = analysis["diagnostics"]["local_jacobians"], analysis["lyapunov_spectrum"]
    values, errors = array(found["exponents"]), array(found["errors"])
    local = {
        "exponents": [None if np.isnan(v) else float(v) for v in values],
        "ci": [
            (v - 1.645 * e, v + 1.645 * e) if np.isfinite(v + e) else None for v, e in zip(values, errors, strict=True)
        ],
        "unit": found["unit"],
        "level": 0.9,
    }
    shown: list[tuple[str, dict[str, Any], Role]] = [("local-linear Jacobians, 90 % interval", local, "model")]
    if spectrum["exponents"]:
        shown.insert(0, ("the analysis' exponents", spectrum, "data"))
    return Figure(
        "The spectrum by local-linear Jacobians",
        f"{found['jacobians']:,} affine maps over {found['evolve_steps']} step(s), each fitted to {found['neighbours']} neighbours; they "
        f"explain {100 * max(0.0, found['skill']):.0f} % of what the neighbours' mean does not. Noise and flat neighbourhoods bias "
        "them, the strongly negative exponents most.",
        [spectra_panel(shown)],
        size=(760, 490),
    )


def _no_local_jacobians(analysis: dict[str, Any]) -> str | None:
    found = analysis["diagnostics"].get("local_jacobians")
    if found and any(v is not None for v in found["exponents"]):
        return None
    return "Local Jacobians were not measured: too few states or neighbours, or nothing left of the budget."


FIGURES = [
    Definition(
        "spectrum", "Lyapunov spectrum of the data", "All exponents with their intervals.", _spectrum, _no_spectrum
    ),
    Definition(
        "methods",
        "The largest exponent by every method",
        "Estimates and intervals of all methods side by side, and which is trusted.",
        _methods,
        _no_methods,
    ),
    Definition(
        "divergence",
        "How neighbouring states part",
        "Mean log distance of neighbours over time, with the fitted region.",
        _divergence,
        _no_divergence,
    ),
    Definition(
        "convergence",
        "Convergence of the exponents",
        "Running means of the exponents over the time they were followed.",
        _convergence,
        _no_convergence,
    ),
    Definition(
        "local-jacobians",
        "The spectrum by local-linear Jacobians",
        "Exponents without a global model, beside those of the analysis.",
        _local_jacobians,
        _no_local_jacobians,
    ),
]
