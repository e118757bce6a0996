"""Figures over HTTP: the list, every form of a figure, what is refused and why, and whose they are."""

from __future__ import annotations

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import plotly.io
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from stock import LAMBDA_MAX, Stock

from domain.documents import href
from store.tables import AnalysisRow, EvaluationRow, ForecastRow, ModelRow

PLOTLY = "application/vnd.plotly.v1+json"
# What is drawn does not depend on the database.
ON_SQLITE = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
ROWS = {"analysis": AnalysisRow, "model": ModelRow, "forecast": ForecastRow, "evaluation": EvaluationRow}


def address(stock: Stock, resource: str) -> str:
    return href(resource, getattr(stock, f"{resource}_id"))


def spectrum(client: TestClient, stock: Stock, **request: Any) -> Any:
    return client.get(f"{address(stock, 'model')}/figures/spectrum", **request)


@pytest.fixture
def forecast_href(client: TestClient, stock: Stock) -> str:
    body = {"horizon_steps": 30, "start_index": 600}
    return client.post(f"/v1/models/{stock.model_id}/forecasts", json=body).headers["location"]


def test_the_list_has_addresses_that_answer_and_reasons_for_the_rest(client: TestClient, stock: Stock) -> None:
    for resource in ("analysis", "model", "evaluation"):
        listed = client.get(f"{address(stock, resource)}/figures").json()
        assert {"spectrum"} <= {f["name"] for f in listed["data"]}
        for figure in listed["data"]:
            answer = client.get(figure["href"])
            assert answer.status_code == 200, figure
            plotly.io.from_json(answer.text, skip_invalid=False)
        assert listed["missing"], resource
        for figure in listed["missing"]:
            answer = client.get(f"{address(stock, resource)}/figures/{figure['name']}")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert figure["reason"] in answer.json()["detail"]


def test_a_figure_shows_the_stored_numbers(client: TestClient, stock: Stock) -> None:
    found = spectrum(client, stock).json()
    (data, model) = [t for t in found["data"] if t["mode"] == "markers"]
    assert (data["name"], model["name"]) == ("data", "model")
    assert data["y"] == model["y"] == pytest.approx([LAMBDA_MAX / 0.1, -1.16338 / 0.1], rel=1e-5)
    assert found["layout"]["yaxis"]["title"]["text"] == "λ in 1/s"


def test_a_forecast_stands_beside_what_was_measured(client: TestClient, stock: Stock, forecast_href: str) -> None:
    (figure,) = client.get(f"{forecast_href}/figures").json()["data"]
    traces = {t["name"]: t for t in client.get(figure["href"]).json()["data"] if t.get("showlegend") and "name" in t}
    measured = traces["measured"]
    assert measured["y"] == pytest.approx(stock.values[580:630, 0].tolist(), rel=1e-5, abs=1e-6)
    document = client.get(forecast_href).json()
    assert traces["median forecast"]["y"] == pytest.approx([row[0] for row in document["median"]], rel=1e-5, abs=1e-6)
    client.delete(f"/v1/series/{stock.series_id}")
    assert client.get(figure["href"]).status_code == 200  # without the measured line


def test_forecast_errors_are_computed_from_model_and_series(client: TestClient, stock: Stock) -> None:
    found = client.get(f"{address(stock, 'model')}/figures/prediction-error").json()
    median = next(t for t in found["data"] if t.get("name", "").startswith("median"))
    assert max(median["y"]) < 1e-6  # the model is the map that made the series
    client.delete(f"/v1/series/{stock.series_id}")
    gone = client.get(f"{address(stock, 'model')}/figures/prediction-error")
    assert gone.status_code == 404
    assert "prediction-error" in [f["name"] for f in client.get(f"{address(stock, 'model')}/figures").json()["missing"]]


@ON_SQLITE
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        (PLOTLY, PLOTLY),
        (f"text/html, {PLOTLY};q=0.5, image/png;q=0.1", PLOTLY),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("image/svg+xml", "image/svg+xml"),
        ("image/png;q=0.2, image/svg+xml;q=0.9", "image/svg+xml"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "image/png"),
    ],
)
def test_accept_chooses_the_form(client: TestClient, stock: Stock, accept: str, expected: str) -> None:
    answer = spectrum(client, stock, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == expected
    assert answer.headers["vary"] == "Accept"


@ON_SQLITE
@pytest.mark.parametrize("accept", ["text/html", "application/pdf", "image/png;q=0", "image/jpeg"])
def test_other_forms_are_406(client: TestClient, stock: Stock, accept: str) -> None:
    answer = spectrum(client, stock, headers={"Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert PLOTLY in answer.json()["detail"]
    assert "image/svg+xml" in answer.json()["detail"]


@ON_SQLITE
def test_the_query_wins_and_sets_size_theme_and_scale(client: TestClient, stock: Stock) -> None:
    asked = {"format": "png", "theme": "dark", "width": 420, "height": 300, "scale": 1.5}
    answer = spectrum(client, stock, params=asked, headers={"Accept": "application/json"})
    image = Image.open(io.BytesIO(answer.content))
    assert (image.size, image.format) == ((630, 450), "PNG")
    assert tuple(int(v) for v in np.asarray(image.convert("RGB"))[2, 2]) == (0x10, 0x16, 0x1D)
    svg = spectrum(client, stock, params={"format": "svg"})
    assert ElementTree.fromstring(svg.content).tag.endswith("svg")
    assert "script-src" not in svg.headers["content-security-policy"]
    assert "default-src 'none'" in svg.headers["content-security-policy"]
    layout = spectrum(client, stock, params={"width": 500, "theme": "dark"}).json()["layout"]
    assert (layout["width"], layout["paper_bgcolor"]) == (500, "#10161d")


@ON_SQLITE
@pytest.mark.parametrize(
    "asked",
    [
        {"format": "pdf"},
        {"theme": "pink"},
        {"width": 10},
        {"scale": 0},
        {"width": 4000, "height": 6000, "scale": 6, "format": "png"},
    ],
)
def test_what_cannot_be_drawn_is_422(client: TestClient, stock: Stock, asked: dict[str, Any]) -> None:
    answer = spectrum(client, stock, params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameters")
    assert answer.json()["errors"][0]["pointer"].startswith("/query/")


@ON_SQLITE
def test_a_figure_is_known_again_by_its_tag(client: TestClient, stock: Stock) -> None:
    tags = {}
    for form in (
        {"format": "plotly"},
        {"format": "png"},
        {"format": "png", "scale": 1},
        {"format": "svg"},
        {"theme": "dark"},
    ):
        first = spectrum(client, stock, params=form)
        tags[str(form)] = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        again = spectrum(client, stock, params=form, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert len(set(tags.values())) == len(tags)


def test_unknown_names_are_404_and_told_which_there_are(client: TestClient, stock: Stock) -> None:
    answer = client.get(f"{address(stock, 'model')}/figures/attractors")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "attractor, time-series, power-spectra" in answer.json()["detail"]


@pytest.mark.parametrize("resource", ROWS)
def test_figures_of_another_tenant_are_not_there(
    client: TestClient, stock: Stock, forecast_href: str, resource: str
) -> None:
    path = forecast_href if resource == "forecast" else address(stock, resource)
    assert client.get(f"{path}/figures").status_code == 200
    with stock.database.write() as session:
        row = session.get(ROWS[resource], path.rpartition("/")[2])
        assert row is not None
        row.tenant = "somebody else"
    names = ["", "/forecast"] if resource == "forecast" else ["", "/spectrum", "/measures", "/nothing"]
    for name in names:
        for asked in ({}, {"format": "png"}):
            answer = client.get(f"{path}/figures{name}", params=asked)
            assert answer.status_code == 404
            assert answer.json()["detail"] == client.get(path).json()["detail"]


def test_ids_that_are_none_are_404(client: TestClient) -> None:
    for resource in ROWS:
        for id in ("nonsense", f"{href(resource, 'x').split('/')[2][:3]}_{'0' * 32}"):
            answer = client.get(f"{href(resource, id)}/figures")
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
