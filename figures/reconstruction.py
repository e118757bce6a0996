"""Figures of a model beside the data that it has not seen: attractor, series, spectra, histograms, measures, training.

They serve models and evaluations: both carry a reconstruction report.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.catalogue import Definition, Sources
from figures.exponents import spectra_panel
from figures.parts import Axis, Band, Cells, Curve, Figure, Line, Mark, Panel, Points, Reference, Role, TopAxis, array
from figures.words import num, quantity, time_axis, with_unit

TRUTH, MADE = "data (held out)", "model, running freely"
ROWS = 4_000  # of an attractor
SERIES_ROWS, CHANNELS, HISTOGRAMS = 1_000, 4, 6
BINS, CELLS = 60, 48
MARGIN = 0.1  # of the data's range: what leaves the box is not drawn, but said
MEASURES = {"d_stsp": "places visited", "d_stsp_long": "places visited\n(long run)", "d_h": "rhythms", "prediction_error": "short-term\nerror"}  # fmt: skip


def report_of(sources: Sources) -> dict[str, Any]:
    return sources.document.get("report") or sources.document


def _samples(sources: Sources) -> tuple[np.ndarray, np.ndarray, list[str], int]:
    """True and generated rows (K, N), the channels' names, and the steps between two rows."""
    samples = report_of(sources)["samples"]
    truth, made = array(samples["true"]), array(samples["generated"])
    names = samples.get("channels") or [f"channel {i + 1}" for i in range(truth.shape[1])]
    return truth, made, names, int(samples.get("every") or 1)


def _no_samples(document: dict[str, Any]) -> str | None:
    report = document.get("report") or document
    samples = report.get("samples") or {}
    if len(samples.get("true") or []) < 20:
        return "The report holds no rows of the attractor: the reference was too short."
    if len(samples.get("generated") or []) < 20:
        return "The model has no free run to show: every one of them left all bounds."
    return None


def _coordinates(rows: np.ndarray, names: list[str], delay: int) -> tuple[np.ndarray, list[str]]:
    """Up to three coordinates to draw: channels, or delays of a single one."""
    if rows.shape[1] > 1:
        return rows[:, :3], names[:3]
    n = len(rows) - 2 * delay
    delays = np.column_stack([rows[2 * delay - k * delay :][:n, 0] for k in range(3)])
    return delays, [f"{names[0]}(t)", f"{names[0]}(t − τ)", f"{names[0]}(t − 2τ)"]


def _delay(sources: Sources, every: int, rows: int) -> int:
    """Rows between the coordinates of a delay plot."""
    embedding = (sources.analysis or {}).get("embedding") or {}
    lags = sources.lags if len(sources.lags) > 1 else embedding.get("lags") or [0, 1]
    steps = lags[1] if len(lags) > 1 else 1
    return int(np.clip(round(steps / every), 1, max(1, rows // 4)))


def _box(truth: np.ndarray) -> list[tuple[float, float]]:
    """The data's range and a margin, for every coordinate."""
    low, high = np.nanmin(truth, axis=0), np.nanmax(truth, axis=0)
    pad = np.where(high > low, MARGIN * (high - low), 0.1 * np.abs(high) + 1e-9)
    return [(float(a), float(b)) for a, b in zip(low - pad, high + pad, strict=True)]


def _attractor(sources: Sources) -> Figure:
    truth, made, names, every = _samples(sources)
    delay = _delay(sources, every, min(len(truth), len(made)))
    (truth, labels), (made, _) = _coordinates(truth, names, delay), _coordinates(made, names, delay)
    box = _box(truth)
    low, high = np.array(box).T
    with np.errstate(invalid="ignore"):
        outside = ~((made >= low) & (made <= high)).all(axis=1)
    made = np.where(outside[:, None], np.nan, made)
    axes = [Axis(label, limits=limits) for label, limits in zip(labels, box, strict=True)]
    panels = []
    for title, rows, role in ((TRUTH, truth[:ROWS], "data"), (MADE, made[:ROWS], "model")):
        columns = rows.T
        if len(axes) == 3:
            panels.append(Panel(axes[0], axes[1], [Curve(columns[0], columns[1], columns[2], role)], title, axes[2]))
        else:
            marks: list[Mark] = [Points(columns[0], columns[1], role, size=2.2)]
            panels.append(Panel(axes[0], axes[1], marks, title))
    return Figure(
        "The attractor and its reconstruction",
        f"{_said_of_axes(names, labels, delay * every)} The free run saw nothing of the held-out data but a first state. {_said_outside(outside)}".strip(),
        panels,
        columns=2,
        size=(980, 560) if len(axes) == 3 else (980, 520),
    )


def _said_of_axes(names: list[str], labels: list[str], delay: int) -> str:
    if len(names) == 1:
        return f"Delays of τ = {delay} steps of the one channel, in its own unit."
    return (
        f"The first {len(labels)} of {len(names)} channels."
        if len(names) > len(labels)
        else "In the units of the series."
    )


def _said_outside(outside: np.ndarray) -> str:
    share = 100 * float(outside.mean())
    return f"{num(share, 2)} % of its states lie outside the box and are not drawn." if share > 0 else ""


def _time_series(sources: Sources) -> Figure:
    truth, made, names, every = _samples(sources)
    shown, rows = min(CHANNELS, len(names)), min(SERIES_ROWS, len(truth), len(made))
    time = np.arange(rows) * every * sources.dt
    panels = []
    for k in range(shown):
        low, high = _box(truth[:, [k]])[0]
        for title, values, role in ((TRUTH, truth, "data"), (MADE, made, "model")):
            inside = np.where((values[:rows, k] >= low) & (values[:rows, k] <= high), values[:rows, k], np.nan)
            marks: list[Mark] = [Line(time, inside, role, width=1.2)]
            y = Axis(names[k], limits=(low, high))
            panels.append(Panel(time_axis(sources.time_unit, tight=True), y, marks, title if k == 0 else ""))
    more = f" The first {shown} of {len(names)} channels." if len(names) > shown else ""
    return Figure(
        "Data and model as time series",
        f"Not a forecast: the model runs freely from a moment of its own. What should agree is the character of the motion.{more}",
        panels,
        columns=2,
        size=(1000, 170 + 150 * shown),
        share_x=True,
    )


def power_spectrum(values: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (K,) and power densities (K, N) of standardised series (T, N): Welch's average over half-overlapping Hann windows."""
    length = max(16, len(values) // 6)
    starts = range(0, len(values) - length + 1, max(1, length // 2))
    spread = values.std(axis=0)
    z = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    pieces = [z[s : s + length] - z[s : s + length].mean(axis=0) for s in starts]
    power = np.mean([np.abs(np.fft.rfft(p * window[:, None], axis=0)) ** 2 for p in pieces], axis=0)
    power *= 2 * dt / np.sum(window**2)
    return np.fft.rfftfreq(length, dt)[1:], power[1:]


def _power_spectra(sources: Sources) -> Figure:
    truth, made, names, every = _samples(sources)
    rows, shown = min(len(truth), len(made)), min(CHANNELS, len(names))
    step, unit = every * sources.dt, sources.time_unit
    panels = []
    for k in range(shown):
        marks: list[Mark] = []
        for name, values, role, dash in ((TRUTH, truth, "data", "solid"), (MADE, made, "model", "dash")):
            frequency, power = power_spectrum(values[:rows, [k]], step)
            marks.append(Line(frequency, np.maximum(power[:, 0], 1e-12), role, name, dash, 1.8))
        x = Axis(f"frequency in 1/{unit}" if unit else "frequency per time unit", log=True, tight=True)
        panels.append(Panel(x, Axis("power density\n(standardised)", log=True), marks, names[k]))
    folded = (
        f" Every {every}th step is shown, so that faster oscillations appear folded, in both alike."
        if every > 1
        else ""
    )
    columns = 1 if shown == 1 else 2
    return Figure(
        "Power spectra of data and model",
        f"Averaged over windows of a sixth of the {rows:,} rows (Welch). The same peaks are the same rhythms.{folded}",
        panels,
        columns=columns,
        size=(1000 if columns == 2 else 760, 170 + 300 * -(-shown // columns)),
    )


def _histograms(sources: Sources) -> Figure:
    truth, made, names, _ = _samples(sources)
    shown = min(HISTOGRAMS, len(names))
    panels = []
    for k in range(shown):
        edges = np.linspace(*_box(truth[:, [k]])[0], BINS + 1)
        marks: list[Mark] = []
        for name, values, role, dash in ((TRUTH, truth, "data", "solid"), (MADE, made, "model", "dash")):
            counts = np.histogram(values[np.isfinite(values[:, k]), k], edges)[0] / len(values) / np.diff(edges)
            x, y = np.repeat(edges, 2)[1:-1], np.repeat(counts, 2)
            marks.append(Line(x, y, role, name, dash, 1.6))
        top = max(float(m.y.max()) for m in marks if isinstance(m, Line))
        panels.append(
            Panel(Axis(names[k], tight=True), Axis("share of states per unit", limits=(0.0, 1.06 * top)), marks)
        )
    columns = min(shown, 3)
    more = f" The first {shown} of {len(names)} channels." if len(names) > shown else ""
    return Figure(
        "How often each value is visited",
        f"Histograms of the held-out data and of the model's free run.{more}",
        panels,
        columns=columns,
        size=(340 * columns + 60 + 260 * (columns == 1), 150 + 300 * -(-shown // columns)),
    )


def _density(sources: Sources) -> Figure:
    """Where both are in the plane of the first two coordinates."""
    truth, made, names, every = _samples(sources)
    delay = _delay(sources, every, min(len(truth), len(made)))
    (truth, labels), (made, _) = _coordinates(truth, names, delay), _coordinates(made, names, delay)
    a, b = 0, min(len(labels) - 1, 2 if len(names) > 2 else 1)
    box = _box(truth)
    edges = [np.linspace(*box[k], CELLS + 1) for k in (a, b)]
    centres = [(e[1:] + e[:-1]) / 2 for e in edges]
    shares = []
    for values in (truth, made):
        finite = values[np.isfinite(values).all(axis=1)]
        shares.append(100 * np.histogram2d(finite[:, a], finite[:, b], edges)[0].T / len(values))
    most = float(np.quantile(shares[0][shares[0] > 0], 0.99))
    panels = [
        Panel(
            Axis(labels[a], limits=box[a]),
            Axis(labels[b], limits=box[b]),
            [Cells(centres[0], centres[1], share, "% of the states per cell", most, bar=title == MADE)],
            title,
        )
        for title, share in zip((TRUTH, MADE), shares, strict=True)
    ]
    return Figure(
        "Where the states are",
        f"Share of the states in cells of the plane of {labels[a]} and {labels[b]}, on one scale of colours.",
        panels,
        columns=2,
        size=(1000, 480),
    )


def _spectrum(sources: Sources) -> Figure:
    report = report_of(sources)
    shown: list[tuple[str, dict[str, Any], Role]] = [("model", report["lyapunov_spectrum"], "model")]
    if sources.analysis and sources.analysis["lyapunov_spectrum"]["exponents"]:
        shown.insert(0, ("data", sources.analysis["lyapunov_spectrum"], "data"))
    comparison = report.get("lambda_max_comparison") or {}
    dimension = quantity(report["kaplan_yorke_dimension"], "Kaplan–Yorke dimension of the model")
    said = comparison.get("detail") or comparison.get("reason") or ""
    said = said or ("The data's own spectrum is not known." if len(shown) == 1 else "")
    subtitle = f"{said.rstrip('.')}. {dimension}." if said else f"{dimension}."
    return Figure("Lyapunov spectrum of data and model", subtitle, [spectra_panel(shown)], size=(760, 480))


def _no_spectrum(document: dict[str, Any]) -> str | None:
    spectrum = (document.get("report") or document)["lyapunov_spectrum"]
    if any(v is not None for v in spectrum["exponents"]):
        return None
    return spectrum.get("reason") or "The model's exponents were not measured."


def _measures(sources: Sources) -> Figure:
    """A row for each measure: the model's value, and what the data score against themselves."""
    report = report_of(sources)
    found = {name: m for name in MEASURES if (m := report.get(name)) and (m["value"] or 0) > 0}
    marks: list[Mark] = []
    series: tuple[tuple[str, Role, Any, Any], ...] = (
        ("the model", "model", "circle", lambda m: m["value"]),
        ("floor: one half of the data against the other", "data", "diamond", lambda m: m.get("floor")),
        ("as many steps of the model's own series", "third", "square", lambda m: m["parameters"].get("own_level")),
        ("forecasting no change", "muted", "x", lambda m: m["parameters"].get("persistence")),
    )
    for name, role, symbol, value_of in series:
        rows = [(-float(i), v, m) for i, m in enumerate(found.values()) if (v := value_of(m)) and v > 0]
        if rows:
            texts = [f"{name}: {num(v)} ({m['variant']})" for _, v, m in rows]
            marks.append(
                Points(array([v for _, v, _ in rows]), array([y for y, _, _ in rows]), role, name, symbol, 11.0, hollow=role != "model", texts=texts)
            )  # fmt: skip
    ticks = [(-float(i), f"{name}\n{MEASURES[name]}") for i, name in enumerate(found)][::-1]
    steps = report["reference_steps"]
    return Figure(
        f"Measures on held-out data: {report['verdict']}",
        f"On rows {steps[0]:,} to {steps[1]:,}, which training never saw. To the left is better; no model can be expected to the left of the floor.",
        [
            Panel(
                Axis("value (dimensionless, smaller is better)", log=True),
                Axis("", limits=(0.6 - len(found), 0.6), ticks=ticks),
                marks,
            )
        ],
        size=(860, 190 + 75 * len(found)),
    )


def _no_measures(document: dict[str, Any]) -> str | None:
    report = document.get("report") or document
    if any((report.get(name) or {}).get("value") for name in MEASURES):
        return None
    return report["d_stsp"].get("reason") or "No measure could be taken."


def _growth(sources: Sources) -> Figure:
    """How errors of forecasts grow, from many starts."""
    growth, report = sources.growth, report_of(sources)
    assert growth is not None
    unit, valid = sources.time_unit, report["valid_prediction_time"]
    top = ((sources.analysis or {}).get("lambda_max") or {}).get("value") or (
        report["lyapunov_spectrum"]["exponents"] or [None]
    )[0]
    whose = "data" if ((sources.analysis or {}).get("lambda_max") or {}).get("value") else "model"
    marks: list[Mark] = [
        Band(growth.time, growth.lower, growth.upper, "model", "quartiles", 0.22),
        Line(growth.time, growth.median, "model", f"median of {growth.starts} forecasts", width=2.2),
        Line(growth.time, growth.persistence, "muted", "forecasting no change", "dash"),
        Reference(1.0, "y", "ink", "forecasting the mean", "dot"),
    ]
    if growth.noise > 0:
        marks.append(Reference(growth.noise, "y", "third", "measurement noise", "dash"))
    if top is not None and top > 0:
        line = growth.median[0] * np.exp(top * (growth.time - growth.time[0]))
        marks.append(
            Line(
                growth.time,
                np.where(line < 2.5, line, np.nan),
                "data",
                f"exp(λ₁ t), λ₁ = {num(top)} of the {whose}",
                "dot",
                2.4,
            )
        )
    if valid["median_time"] is not None and valid["median_time"] <= growth.time[-1]:
        marks.append(
            Reference(
                valid["median_time"],
                "x",
                "fourth",
                f"half of the forecasts have been {num(valid['threshold'])} off once",
            )
        )
    values = np.concatenate([growth.lower, growth.persistence, [growth.noise or np.nan]])
    least = float(np.nanmin(values[values > 0]))
    panel = Panel(
        time_axis(unit, tight=True),
        Axis("error in standard deviations", log=True, limits=(0.7 * least, 4.0)),
        marks,
        top=TopAxis("Lyapunov times", 0.0, 1 / top) if top is not None and top > 0 else None,
    )
    return Figure(
        "How forecast errors grow",
        "Root mean square over the channels. Where the median follows the dotted line the model errs no faster than the system itself does.",
        [panel],
        size=(860, 540),
    )  # fmt: skip


def _training(sources: Sources) -> Figure:
    model = sources.document
    training, loss = model["training"], array(model["training"]["loss"])
    kept = next((s for s in training["seeds"] if s["kept"]), None)
    x, y = loss[:, 0], np.where(loss[:, 1] > 0, loss[:, 1], np.nan)
    curve = Line(x, y, "model", "loss of the kept run", width=1.3)
    panels = [Panel(Axis("update", tight=True), Axis("training loss", log=True), [curve], "The kept run")]
    marks: list[Mark] = []
    for name, role, symbol in (
        ("d_stsp", "data", "circle"),
        ("d_h", "third", "square"),
        ("prediction_error", "fourth", "diamond"),
    ):
        for chosen in (True, False):
            runs = [
                (i, v)
                for i, s in enumerate(training["seeds"])
                if s["kept"] is chosen and (v := s["validation"].get(name))
            ]
            if runs:
                said = name
                marks.append(
                    Points(
                        array([i for i, _ in runs]),
                        array([v for _, v in runs]),
                        role,
                        said,
                        symbol,
                        10.0,
                        hollow=not chosen,
                    )
                )
    if marks:
        ticks = [(float(i), str(s["seed"])) for i, s in enumerate(training["seeds"])]
        axis = Axis("seed", limits=(-0.6, len(ticks) - 0.4), ticks=ticks)
        panels.append(
            Panel(
                axis, Axis("value (smaller is better)", log=True), marks, "All runs on validation data (filled: kept)"
            )
        )
    said = f"{training['updates']:,} updates in {with_unit(training['seconds'], 's')}."
    return Figure(
        "How the model was learned",
        f"{said} Kept: seed {kept['seed']}, {kept['why']}." if kept else said,
        panels,
        columns=len(panels),
        size=(1000, 480) if len(panels) > 1 else (760, 460),
    )  # fmt: skip


def _no_training(model: dict[str, Any]) -> str | None:
    return None if len(model["training"]["loss"]) > 1 else "No loss curve is stored with this model."


def _never(_: dict[str, Any]) -> str | None:
    return None


REPORT_FIGURES = [
    Definition(
        "attractor", "The attractor and its reconstruction", "Held-out data and free run in state space.", _attractor, _no_samples
    ),
    Definition(
        "time-series", "Data and model as time series", "Held-out data and free run, channel by channel.", _time_series, _no_samples
    ),
    Definition("power-spectra", "Power spectra of data and model", "Do both have the same rhythms?", _power_spectra, _no_samples),
    Definition("histograms", "How often each value is visited", "Histograms of every channel.", _histograms, _no_samples),
    Definition("density", "Where the states are", "Histograms of two coordinates, data beside model.", _density, _no_samples),
    Definition(
        "spectrum",
        "Lyapunov spectrum of data and model",
        "Exponents of both with their intervals.",
        _spectrum,
        _no_spectrum,
        frozenset({"analysis"}),
    ),
    Definition(
        "prediction-error",
        "How forecast errors grow",
        "Error against horizon, with floors and exp(λ t).",
        _growth,
        _never,
        frozenset({"analysis", "growth"}),
    ),
    Definition("measures", "Measures on held-out data", "Every measure beside its floor.", _measures, _no_measures),
]  # fmt: skip
MODEL_FIGURES = [
    *REPORT_FIGURES,
    Definition("training", "How the model was learned", "Loss of the kept run, and all runs on validation data.", _training, _no_training),
]  # fmt: skip
