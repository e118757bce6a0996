"""Reports of models: what is in them, in both forms, and that nothing in a name becomes more than text."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from fastapi.testclient import TestClient
from stock import Stock, add_model

from models import ARCHITECTURES
from store.blobs import Blobs
from store.database import Database

SCRIPT = "<script>alert(1)</script>"
EVIL = [f"{SCRIPT}x", '" onload="alert(2)']


class Page(HTMLParser):
    """What a browser would make of it: elements with their attributes, and the text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def report(client: TestClient, model_id: str, form: str = "html", **headers: str):  # type: ignore[no-untyped-def]
    return client.get(f"/v1/models/{model_id}/report", params={"format": form} if form else {}, headers=headers)


def test_a_page_has_all_of_it_and_loads_nothing(client: TestClient, stock: Stock) -> None:
    answer = report(client, stock.model_id)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    page = Page(answer.text)
    titles = ("Data", "What the data say", "Training", "The model on data", "Forecast", "Settings", "References")
    for title in titles:
        assert title in page.text
    assert "Nearby states part." in page.text  # the verdict
    assert "4.7 1/s" in page.text  # the entropy of the analysis
    assert "binned-30" in page.text
    assert "best on validation data" in page.text
    assert stock.series_id in page.text
    content_hash = client.get(f"/v1/series/{stock.series_id}").json()["content_hash"]
    assert content_hash in page.text
    assert ARCHITECTURES[stock.trained.architecture].citation in page.text
    assert "first held-out row" in page.text  # of the forecast: none is stored
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) >= 3
    for image in images:
        assert (image["src"] or "").startswith("data:image/svg+xml;base64,")
        assert image["alt"]
    links = [a["href"] for tag, a in page.elements if tag == "a"]
    assert links
    assert all((link or "").startswith("#") for link in links)
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert len(answer.content) < 3_000_000


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_pdf_is_one_and_the_same_each_time(client: TestClient, stock: Stock) -> None:
    answer = report(client, stock.model_id, "pdf")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/pdf")
    assert answer.content.startswith(b"%PDF-1.")
    assert answer.content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", answer.content)) >= 3
    assert len(answer.content) < 3_000_000
    assert report(client, stock.model_id, "pdf").content == answer.content
    assert b"/JavaScript" not in answer.content


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_stored_forecast_is_the_one_that_is_shown(client: TestClient, stock: Stock) -> None:
    before = report(client, stock.model_id)
    made = client.post(f"/v1/models/{stock.model_id}/forecasts", json={"horizon_steps": 7}).json()
    after = report(client, stock.model_id)
    assert made["id"] in Page(after.text).text
    assert "7 steps" in Page(after.text).text
    assert before.headers["ETag"] != after.headers["ETag"]
    again = report(client, stock.model_id, **{"If-None-Match": after.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_caller_chooses_the_form(client: TestClient, stock: Stock) -> None:
    def kind(accept: str) -> str:
        answer = report(client, stock.model_id, "", Accept=accept, **{"If-None-Match": "*"})
        assert answer.status_code in (304, 406)
        return answer.headers.get("ETag") or str(answer.status_code)

    html, pdf = kind("text/html"), kind("application/pdf")
    assert html != pdf
    assert kind("*/*") == kind("text/html;q=0.9, application/pdf;q=0.1") == html
    assert kind("image/png, application/*;q=0.5") == pdf
    assert kind("image/png") == kind("text/html;q=0") == "406"


def upload(client: TestClient, values: np.ndarray, names: list[str]) -> str:
    body = io.BytesIO()
    np.save(body, values)
    fields = {"dt": "0.1", "time_unit": "s", "name": f"{SCRIPT} & <b>bold</b>", "channels": names}
    answer = client.post(
        "/v1/series", params=fields, content=body.getvalue(), headers={"Content-Type": "application/x-npy"}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_names_stay_text(client: TestClient, stock: Stock, database: Database, blobs: Blobs) -> None:
    values = np.nan_to_num(stock.values)
    series_id = upload(client, values, EVIL)
    model_id = add_model(database, blobs, replace(stock.trained, channels=EVIL), series_id, stock.analysis_id)
    for form in ("html", "pdf"):
        assert report(client, model_id, form).status_code == 200
    answer = report(client, model_id)
    assert SCRIPT.encode() not in answer.content
    page = Page(answer.text)
    assert f"Reconstruction of {SCRIPT} & <b>bold</b>" in page.text
    assert EVIL[1] in page.text
    assert "script" not in {tag for tag, _ in page.elements}
    assert "b" not in {tag for tag, _ in page.elements}
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_what_is_gone_is_said_to_be(client: TestClient, stock: Stock) -> None:
    assert client.delete(f"/v1/series/{stock.series_id}").status_code == 204
    assert client.delete(f"/v1/analyses/{stock.analysis_id}").status_code == 204
    for form in ("html", "pdf"):
        assert report(client, stock.model_id, form).status_code == 200
    text = Page(report(client, stock.model_id).text).text
    assert "The series is not stored" in text
    assert "The analysis that tuned the training is not stored" in text
    assert "nothing to start a forecast from" in text


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_only_sources_of_what_was_used(client: TestClient, stock: Stock) -> None:
    text = Page(report(client, stock.model_id).text).text
    assert "Kaplan & Yorke" in text
    assert "Takens" not in text  # no delays
    assert "Grassberger" not in text  # no such test among the evidence


def test_a_missing_model_is_not_found(client: TestClient) -> None:
    assert report(client, "mdl_" + "0" * 32).status_code == 404
