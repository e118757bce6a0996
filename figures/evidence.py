"""Figures of what an analysis rests on: embedding, recurrences, the verdict's evidence, dimension, surrogates, sampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.catalogue import Definition, Sources
from figures.parts import Axis, Bars, Cells, Figure, Line, Mark, Note, Panel, Points, Reference, Region, array
from figures.words import num, quantity, time_axis, with_unit

VERDICTS = ["chaotic", "periodic", "quasi-periodic", "fixed-point", "noise", "none"]
TESTS = {
    "largest-exponent": "largest exponent × period",
    "nonlinear-forecast": "gain of nonlinear forecasts (ln)",
    "recurrence": "return distance (0 repeats, 1 forgets)",
    "zero-one-test": "0-1 test K (0 regular, 1 irregular)",
    "amplitude-decay": "amplitude late / early",
    "free-run": "free run stays on the attractor",
    "sum-of-exponents": "sum of exponents × period",
    "zero-exponent": "exponent nearest 0 × period",
    "surrogates": "distance from linear noise (σ)",
    "stationarity": "neighbours in the other half of time",
    "correlation-dimension": "slope of the correlation sum",
    "method-agreement": "nearest other method (std. errors)",
}
FALSE_SHARE = 0.02  # the criterion of the analysis


def _evidence(sources: Sources) -> Figure:
    """Which test speaks for which verdict: rows and columns."""
    verdict = sources.document["verdict"]
    items, chosen = verdict["evidence"], VERDICTS.index(verdict["kind"]) if verdict["kind"] in VERDICTS else None
    marks: list[Mark] = []
    if chosen is not None:
        marks.append(Region(chosen - 0.5, chosen + 0.5, "x", "data", f"the verdict: {verdict['kind']}", 0.14))
    for name, role, symbol, agrees in (
        ("speaks for the verdict", "data", "circle", True),
        ("speaks for something else", "model", "diamond", False),
        ("decides nothing by itself", "muted", "x", None),
    ):
        rows = [i for i, e in enumerate(items) if _agrees(e, verdict["kind"]) is agrees]
        if rows:
            places = array([VERDICTS.index(items[i]["supports"]) for i in rows])
            texts = [items[i]["detail"] for i in rows]
            marks.append(Points(places, -array(rows), role, name, symbol, 11.0, texts=texts))
    marks += [Note(len(VERDICTS) - 0.2, -float(i), num(e["value"])) for i, e in enumerate(items)]
    ticks = [(-float(i), TESTS.get(e["test"], e["test"])) for i, e in enumerate(items)][::-1]
    columns = [(float(i), v if v != "none" else "neither") for i, v in enumerate(VERDICTS)]
    columns.append((len(VERDICTS) + 0.1, "value"))
    panel = Panel(
        Axis("what the test speaks for", limits=(-0.6, len(VERDICTS) + 0.7), ticks=columns),
        Axis("", limits=(0.6 - len(items), 0.6), ticks=ticks),
        marks,
    )
    return Figure(
        f"Evidence for the verdict: {verdict['kind']}",
        verdict["detail"],
        [panel],
        size=(900, 190 + 32 * len(items)),
    )


def _agrees(item: dict[str, Any], kind: str) -> bool | None:
    return None if item["supports"] not in VERDICTS[:-1] else item["supports"] == kind


def _no_evidence(analysis: dict[str, Any]) -> str | None:
    return None if analysis["verdict"]["evidence"] else "The analysis stored no evidence: run it again."


def _embedding(sources: Sources) -> Figure:
    analysis = sources.document
    embedding, diagnostics = analysis["embedding"], analysis["diagnostics"]
    shares = array(diagnostics["false_neighbours"])
    dimensions = np.arange(1, len(shares) + 1, dtype=float)
    panels = [
        Panel(
            Axis(
                "embedding dimension m",
                limits=(0.4, len(shares) + 0.6),
                ticks=[(float(m), str(int(m))) for m in dimensions],
            ),
            Axis("false nearest neighbours in %", limits=(0.0, max(5.0, 112 * float(np.nanmax(shares))))),
            [
                Bars(dimensions, 100 * shares, "data", "share of neighbours that m + 1 dimensions part"),
                Reference(100 * FALSE_SHARE, "y", "model", f"criterion: {100 * FALSE_SHARE:g} %"),
                *[
                    Note(float(m), 100 * float(s) + 5, f"{100 * s:.1f}", "center")
                    for m, s in zip(dimensions, shares, strict=True)
                ],
            ],
        )
    ]
    if criteria := diagnostics.get("delay_criteria"):
        panels.insert(0, _delay_panel(criteria))
    return Figure(
        "How the series was embedded",
        embedding["reason"],
        panels,
        columns=len(panels),
        size=(470 * len(panels) + 150 * (len(panels) == 1), 480),
    )


def _delay_panel(criteria: dict[str, Any]) -> Panel:
    lags = array(criteria["lag_steps"])
    marks: list[Mark] = [
        Line(lags, array(criteria["mutual_information"]), "data", "mutual information (nats)", width=2.0),
        Line(lags, array(criteria["autocorrelation"]), "third", "autocorrelation", "dash", width=2.0),
        Reference(0.0, "y", "muted", dash="dot"),
        Reference(float(criteria["chosen_steps"]), "x", "model", f"delay chosen: {criteria['chosen_steps']} steps"),
    ]
    return Panel(Axis("lag in steps", tight=True), Axis("of x(t) and x(t + lag)"), marks)


def _no_embedding(analysis: dict[str, Any]) -> str | None:
    if analysis["diagnostics"].get("false_neighbours"):
        return None
    if len(analysis.get("channels") or []) > 1 or analysis["embedding"]["kind"] == "none":
        return "Nothing was embedded: the channels themselves are the state."
    return "The series is too short for the criteria of an embedding."


def _recurrence(sources: Sources) -> Figure:
    found = sources.document["diagnostics"]["recurrence_plot"]
    unit, rows = sources.document["predictability"]["unit"], found["counts"]
    counts = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        counts[i, : i + 1] = [int(digit) for digit in row]
    counts = np.maximum(counts, counts.T)
    time = (np.arange(len(rows)) + 0.5) * found["bin_states"] * found["time_between_states"]
    axis = time_axis(unit, tight=True)
    per_cell = f"recurrent pairs per cell of {found['bin_states']} × {found['bin_states']} states"
    return Figure(
        "Recurrence plot",
        f"Dark where the states at two times are among the nearest {100 * found['recurrence_rate']:.1f} %. Diagonals are stretches that repeat: "
        f"{100 * found['determinism']:.0f} % of the recurrent pairs lie on them, {with_unit(found['mean_line_time'], unit)} long on average.",
        [Panel(axis, axis, [Cells(time, time, counts, per_cell)], square=True)],
        size=(680, 680),
    )


def _no_recurrence(analysis: dict[str, Any]) -> str | None:
    if analysis["diagnostics"].get("recurrence_plot"):
        return None
    return "No recurrence plot was made: fewer than 50 states, or than three periods."


def _correlation_sum(sources: Sources) -> Figure:
    found, dimension = sources.document["diagnostics"]["correlation_sum"], sources.document["correlation_dimension"]
    x, y, fit = array(found["log_radius"]), array(found["log_share"]), found["fit"]
    sum_marks: list[Mark] = [Line(x, y, "data", "correlation sum", width=2.0)]
    middle, slopes = (x[4:] + x[:-4]) / 2, (y[4:] - y[:-4]) / (x[4:] - x[:-4])
    slope_marks: list[Mark] = [Line(middle, slopes, "data", "", width=2.0)]
    if fit:
        inside = (x >= fit["first_log_radius"] - 1e-9) & (x <= fit["last_log_radius"] + 1e-9)
        level = float(np.mean(y[inside] - fit["slope"] * x[inside]))
        region = Region(fit["first_log_radius"], fit["last_log_radius"], "x", "model", "scaling region", 0.12)
        line = Line(x[inside], level + fit["slope"] * x[inside], "model", f"slope {num(fit['slope'])}", "dash", 2.2)
        sum_marks = [region, *sum_marks, line]
        slope_marks = [region, *slope_marks, Reference(fit["slope"], "y", "model", "", "dash")]
        if ci := dimension.get("ci"):
            slope_marks.insert(1, Region(ci[0], ci[1], "y", "third", "interval of the dimension", 0.2))
    label = Axis("ln r (r in standard deviations)")
    return Figure(
        "Correlation sum and its slope",
        f"{quantity(dimension, 'Correlation dimension')}. A dimension shows as a level stretch of the local slope.",
        [
            Panel(label, Axis("ln C(r), share of pairs nearer than r"), sum_marks),
            Panel(label, Axis("local slope d ln C / d ln r", limits=(0.0, 1.1 * float(max(slopes.max(), 1.0)))), slope_marks),
        ],
        columns=2,
        size=(980, 470),
    )  # fmt: skip


def _no_correlation_sum(analysis: dict[str, Any]) -> str | None:
    found = analysis["diagnostics"].get("correlation_sum")
    if found and len(found["log_radius"]) > 5:
        return None
    return "The correlation sum has too few radii that hold enough pairs of states."


def _surrogates(sources: Sources) -> Figure:
    found = sources.document["diagnostics"]["surrogates"]
    errors = np.sort(array(found["surrogate_errors"]))
    level = np.linspace(-0.35, 0.35, len(errors))  # side by side, so that equal ones are all seen
    marks: list[Mark] = [
        Points(
            errors, level, "muted", f"{len(errors)} series of linear noise with the same spectrum and values", size=8.0
        ),
        Points(array([found["prediction_error"]]), array([0.0]), "data", "the data", "diamond", 14.0),
        Reference(1.0, "x", "ink", "forecasting the mean", "dot"),
    ]
    return Figure(
        "The data against linear noise",
        f"Error of forecasts {found['horizon_steps']} steps ahead by neighbours: the data lie {num(found['sigmas'])} standard deviations of the "
            f"surrogates below their mean (rank p = {num(found['rank_p_value'], 2)}). Far to the left: not stationary linear noise, which is not yet chaos.",
        [Panel(Axis("forecast error in standard deviations"), Axis("", limits=(-0.6, 0.6), ticks=[]), marks)],
        size=(820, 330),
    )  # fmt: skip


def _no_surrogates(analysis: dict[str, Any]) -> str | None:
    if analysis["diagnostics"].get("surrogates"):
        return None
    return "No surrogates were made: fewer than 200 rows after thinning, no variation, or nothing left of the budget."


def _sampling(sources: Sources) -> Figure:
    """What the sampling resolves, and how far ahead the series forecasts itself."""
    analysis = sources.document
    found, unit = analysis["diagnostics"]["sampling"], analysis["predictability"]["unit"]
    lead = analysis["diagnostics"]["forecast_error_by_lead"]
    used = found["use_every_steps"]  # the analysis counts in steps that it uses
    curves: list[Mark] = [Line(used * array(lead["step"]), array(lead["model"]), "data", "the chosen model", width=2.0)]
    if linear := lead.get("linear_step"):
        curves.append(
            Line(used * array(linear), array(lead["linear_model"]), "model", "best linear model", "dash", 2.0)
        )
    curves.append(Reference(1.0, "y", "ink", "forecasting the mean", "dot"))
    most = max(float(np.nanmax(c.y)) for c in curves if isinstance(c, Line))
    errors_panel = Panel(
        Axis("rows of the series ahead"),
        Axis("error in standard deviations", limits=(0.0, 1.08 * max(most, 1.0))),
        curves,
        "Error of held-out forecasts",
    )
    panels = [errors_panel] if found.get("samples_per_period") is None else [_sampling_panel(found), errors_panel]
    return Figure(
        "Sampling, and what it lets be forecast",
        found.get("advice") or f"Mean period {with_unit(found['mean_period_steps'], unit or 'steps')}.",
        panels,
        columns=len(panels),
        size=(980 if len(panels) > 1 else 640, 450),
    )


def _sampling_panel(found: dict[str, Any]) -> Panel:
    recorded = float(found["samples_per_period"])
    rows = [
        ("samples per period,\nrecorded", recorded),
        (f"samples per period,\nevery {found['use_every_steps']}", recorded / found["use_every_steps"]),
        ("correlation time\nin steps", float(found.get("correlation_time_steps") or np.nan)),
        ("mean periods\nrecorded", float(found["periods"])),
    ]
    y = -np.arange(len(rows), dtype=float)
    lengths = array([v for _, v in rows])
    return Panel(
        Axis("number", limits=(0.0, 1.22 * float(np.nanmax(lengths)))),
        Axis("", limits=(0.6 - len(rows), 0.6), ticks=[(float(p), name) for p, (name, _) in zip(y, rows, strict=True)][::-1]),
        [
            Bars(lengths, y, "data", along="x"),
            *[Note(float(v) + 0.02 * float(np.nanmax(lengths)), float(p), num(float(v))) for v, p in zip(lengths, y, strict=True) if np.isfinite(v)],
        ],
        "What was recorded",
    )  # fmt: skip


def _no_sampling(analysis: dict[str, Any]) -> str | None:
    diagnostics = analysis["diagnostics"]
    if diagnostics.get("sampling") and diagnostics.get("forecast_error_by_lead", {}).get("step"):
        return None
    return "The analysis stored nothing about its sampling: run it again."


FIGURES = [
    Definition(
        "evidence",
        "Evidence for the verdict",
        "Every test, its value, and the verdict that it speaks for.",
        _evidence,
        _no_evidence,
    ),
    Definition(
        "embedding",
        "How the series was embedded",
        "Criteria of delay and dimension, and what was chosen.",
        _embedding,
        _no_embedding,
    ),
    Definition(
        "recurrence",
        "Recurrence plot",
        "Pairs of times at which the system was in nearly the same state.",
        _recurrence,
        _no_recurrence,
    ),
    Definition(
        "correlation-sum",
        "Correlation sum and its slope",
        "Share of pairs nearer than r, scaling region.",
        _correlation_sum,
        _no_correlation_sum,
    ),
    Definition(
        "surrogates",
        "The data against linear noise",
        "Forecast errors of the data and of linear surrogates.",
        _surrogates,
        _no_surrogates,
    ),
    Definition(
        "sampling",
        "Sampling, and what it lets be forecast",
        "Samples per period, periods, and error by lead time.",
        _sampling,
        _no_sampling,
    ),
]
