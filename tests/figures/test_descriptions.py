"""What figures show is what the documents say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from figures.catalogue import Sources
from figures.of import DEFINITIONS, find
from figures.parts import Band, Cells, Figure, Line, Panel, Points, Reference, limits
from figures.words import num


def built(sources: Sources, resource: str, name: str) -> Figure:
    definition = find(resource, name)
    assert definition is not None
    assert definition.lacks(sources.document) is None
    return definition.build(sources)


def marks(figure: Figure, kind: type, panel: int = 0) -> list[Any]:
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


def own_values(panel: Panel, places: np.ndarray) -> np.ndarray:
    """Values behind places on a compressed scale, from its labelled ticks alone."""
    if panel.y.ticks is None:
        return places
    place, text = next((p, t) for p, t in panel.y.ticks if p != 0)
    linear_to = float(text.replace("−", "-")) / np.sinh(place)
    return linear_to * np.sinh(places)


def test_the_spectrum_shows_the_exponents_and_their_intervals(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "spectrum")
    points = marks(figure, Points)[0]
    spectrum = analysis["lyapunov_spectrum"]
    panel = figure.panels[0]
    assert own_values(panel, points.y) == pytest.approx(spectrum["exponents"], rel=0.01, abs=1e-6)
    assert own_values(panel, points.low) == pytest.approx([c[0] for c in spectrum["ci"]], rel=0.01, abs=1e-6)
    assert own_values(panel, points.high) == pytest.approx([c[1] for c in spectrum["ci"]], rel=0.01, abs=1e-6)
    assert num(analysis["lambda_max"]["value"]) in figure.subtitle
    assert "1/s" in panel.y.label


def test_every_tick_of_a_compressed_scale_says_its_place(analysis: dict[str, Any], model_sources: Sources) -> None:
    seen = 0
    for figure in (built(Sources(analysis), "analysis", "convergence"), built(model_sources, "model", "spectrum")):
        panel = figure.panels[0]
        for place, text in panel.y.ticks or []:
            assert own_values(panel, np.array(place)) == pytest.approx(float(text.replace("−", "-")), rel=1e-6)
            seen += 1
    assert seen > 3


def test_methods_stand_side_by_side_and_one_is_trusted(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "methods")
    drawn = {float(p.x[0]): p for p in marks(figure, Points)}
    for method in analysis["methods"]:
        value = method["lambda_max"]["value"]
        if value is not None:
            assert drawn[value].hollow is not method["trusted"]
            assert [drawn[value].low[0], drawn[value].high[0]] == method["lambda_max"]["ci"]
    assert len(figure.panels[0].y.ticks or []) == len(analysis["methods"])


def test_the_fitted_region_has_the_slope_of_the_document(analysis: dict[str, Any]) -> None:
    found = analysis["diagnostics"]["divergence"]
    figure = built(Sources(analysis), "analysis", "divergence")
    curve, fit = marks(figure, Line)
    assert np.polyfit(fit.x, fit.y, 1)[0] == pytest.approx(found["slope"])
    inside = (curve.x >= fit.x[0]) & (curve.x <= fit.x[-1])
    assert np.polyfit(curve.x[inside], curve.y[inside], 1)[0] == pytest.approx(found["slope"], rel=1e-6)


def test_the_recurrence_plot_is_the_symmetric_matrix(analysis: dict[str, Any]) -> None:
    (cells,) = marks(built(Sources(analysis), "analysis", "recurrence"), Cells)
    rows = analysis["diagnostics"]["recurrence_plot"]["counts"]
    assert (cells.z == cells.z.T).all()
    for i in (0, 7, len(rows) - 1):
        assert cells.z[i, : i + 1].tolist() == [int(digit) for digit in rows[i]]


def test_the_correlation_sum_has_its_slope_beside_it(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "correlation-sum")
    (local,) = marks(figure, Line, 1)
    found = analysis["diagnostics"]["correlation_sum"]
    step = found["log_radius"][1] - found["log_radius"][0]
    assert local.y == pytest.approx((np.array(found["log_share"])[4:] - np.array(found["log_share"])[:-4]) / (4 * step), abs=2e-3)  # fmt: skip
    if found["fit"] is not None:
        assert [r.at for r in marks(figure, Reference, 1)] == [found["fit"]["slope"]]


def test_the_evidence_names_every_test_and_marks_the_verdict(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "evidence")
    evidence = analysis["verdict"]["evidence"]
    assert len(figure.panels[0].y.ticks or []) == len(evidence)
    assert sum(len(p.x) for p in marks(figure, Points)) == len(evidence)
    assert analysis["verdict"]["kind"] in figure.title


def test_embedding_shows_the_share_of_false_neighbours(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "embedding")
    bars = figure.panels[-1].marks[0]
    assert (np.asarray(bars.y) / 100).tolist() == pytest.approx(analysis["diagnostics"]["false_neighbours"])  # type: ignore[union-attr]


def test_embedding_shows_the_criteria_of_the_delay(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "embedding")
    criteria = analysis["diagnostics"]["delay_criteria"]
    information, correlation = marks(figure, Line)
    assert information.y.tolist() == criteria["mutual_information"]
    assert correlation.y.tolist() == criteria["autocorrelation"]
    assert [r.at for r in marks(figure, Reference) if r.name] == [criteria["chosen_steps"]]
    assert criteria["chosen_steps"] == analysis["embedding"]["lags"][1]


def test_forecast_errors_by_lead_are_in_rows_of_the_series(analysis: dict[str, Any]) -> None:
    figure = built(Sources(analysis), "analysis", "sampling")
    lead, used = (
        analysis["diagnostics"]["forecast_error_by_lead"],
        analysis["diagnostics"]["sampling"]["use_every_steps"],
    )
    chosen, linear = marks(figure, Line, len(figure.panels) - 1)
    assert chosen.x.tolist() == [used * step for step in lead["step"]]
    assert linear.x.tolist() == [used * step for step in lead["linear_step"]]
    assert linear.y.tolist() == lead["linear_model"]


def test_noise_has_no_spectrum_and_says_why(noise: dict[str, Any]) -> None:
    spectrum = find("analysis", "spectrum")
    embedding = find("analysis", "embedding")
    assert spectrum is not None
    assert embedding is not None
    assert spectrum.lacks(noise) == noise["lyapunov_spectrum"]["reason"]
    assert "channels themselves" in (embedding.lacks(noise) or "")


def test_attractors_share_one_box_and_come_from_the_samples(model_sources: Sources, report: dict[str, Any]) -> None:
    figure = built(model_sources, "model", "attractor")
    left, right = figure.panels
    assert [limits(left, d) for d in "xy"] == [limits(right, d) for d in "xy"]
    assert marks(figure, Points)[0].x.tolist() == [row[0] for row in report["samples"]["true"]]
    generated = np.array([row[1] for row in report["samples"]["generated"]])
    shown = marks(figure, Points, 1)[0].y
    assert np.isfinite(shown).mean() > 0.9
    assert shown[np.isfinite(shown)].tolist() == generated[np.isfinite(shown)].tolist()


def test_what_leaves_the_box_is_counted(model_sources: Sources, report: dict[str, Any]) -> None:
    generated = [list(row) for row in report["samples"]["generated"]]
    generated[0] = [1e6, 1e6]
    samples = report["samples"] | {"generated": generated}
    document = model_sources.document | {"report": report | {"samples": samples}}
    figure = built(Sources(document, dt=0.5), "model", "attractor")
    assert "lie outside the box" in figure.subtitle
    assert limits(figure.panels[1], "x")[1] < 10


def test_histograms_integrate_to_one(model_sources: Sources) -> None:
    for panel in built(model_sources, "model", "histograms").panels:
        line = panel.marks[0]
        assert isinstance(line, Line)
        assert np.trapezoid(line.y, line.x) == pytest.approx(1.0)


def test_measures_stand_beside_their_floors(model_sources: Sources, report: dict[str, Any]) -> None:
    points = {p.name: p for p in marks(built(model_sources, "model", "measures"), Points)}
    values = [report[n]["value"] for n in ("d_stsp", "d_stsp_long", "d_h", "prediction_error") if report[n]["value"]]
    assert points["the model"].x.tolist() == values
    floor = next(p for name, p in points.items() if name.startswith("floor"))
    assert floor.x.tolist() == [report[n]["floor"] for n in ("d_stsp", "d_h") if report[n]["floor"]]


def test_errors_grow_beside_the_exponential_of_the_data(model_sources: Sources) -> None:
    figure = built(model_sources, "model", "prediction-error")
    exponential = next(line for line in marks(figure, Line) if line.name.startswith("exp"))
    assert np.diff(np.log(exponential.y[:4])) == pytest.approx(0.94 * 0.5)
    top = figure.panels[0].top
    assert top is not None
    assert top.unit == pytest.approx(1 / 0.94)


def test_a_fan_has_nested_bands_a_median_and_the_horizon(forecast_sources: Sources) -> None:
    figure = built(forecast_sources, "forecast", "forecast")
    forecast = forecast_sources.document
    outer, inner = marks(figure, Band)
    assert (outer.low <= inner.low).all()
    assert (inner.high <= outer.high).all()
    median = next(line for line in marks(figure, Line) if line.name == "median forecast")
    assert median.y.tolist() == [row[0] for row in forecast["median"]]
    places = [r.at for r in marks(figure, Reference)]
    assert forecast["start"]["time"] + forecast["predictability"]["time"] in places
    top = figure.panels[0].top
    assert top is not None
    assert top.unit == pytest.approx(forecast["predictability"]["time"] / np.log(2))


def test_every_figure_says_what_it_is() -> None:
    for resource, definitions in DEFINITIONS.items():
        names = [d.name for d in definitions]
        assert len(names) == len(set(names)), resource
        assert all(d.title and d.shows.endswith((".", "?")) for d in definitions)
