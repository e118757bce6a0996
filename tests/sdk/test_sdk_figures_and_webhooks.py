"""Figures and webhooks through the client, against the application."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from stock import Stock

from attractor_client import Client, InvalidRequest, LocalModel, NotFound

JSON_OF_PLOTLY = "application/vnd.plotly.v1+json"


def test_every_figure_that_is_listed_is_there(client: Client, stock: Stock) -> None:
    model = client.model(stock.model_id)
    forecast = model.forecast(horizon_steps=20)
    for result in (client.analysis(stock.analysis_id), model, forecast, stock.evaluation_id):
        listed = client.figures(result)
        assert any(entry.reason is None for entry in listed)
        for entry in listed:
            if entry.reason is None:
                figure = client.figure(result, entry.name, theme="dark")
                assert figure.plotly["data"]
                assert figure._repr_mimebundle_()[JSON_OF_PLOTLY] is figure.plotly
            else:
                with pytest.raises(NotFound):
                    client.figure(result, entry.name)


def test_a_figure_becomes_one_of_plotly(client: Client, stock: Stock) -> None:
    figure = client.figure(stock.analysis_id, "spectrum").to_plotly()
    assert figure.layout.title.text or figure.layout.annotations
    assert len(figure.data) >= 1


def test_the_ending_of_the_file_says_what_is_written(client: Client, stock: Stock, tmp_path: Path) -> None:
    model = client.model(stock.model_id)
    assert client.save_figure(model, "spectrum", tmp_path / "s.svg", width=500).read_text().startswith("<?xml")
    assert client.save_figure(model, "spectrum", tmp_path / "s.PNG", scale=1).read_bytes()[:4] == b"\x89PNG"
    assert json.loads(client.save_figure(model, "spectrum", tmp_path / "s.json").read_text())["data"]
    with pytest.raises(ValueError, match=r"'s.pdf' must end in .png, .svg or .json"):
        client.save_figure(model, "spectrum", tmp_path / "s.pdf")
    with pytest.raises(NotFound, match="spectrum"):
        client.save_figure(model, "spectrun", tmp_path / "t.png")
    assert not (tmp_path / "t.png").exists()


def test_what_has_no_figures_is_said(client: Client, stock: Stock) -> None:
    with pytest.raises(ValueError, match="has no figures"):
        client.figures(stock.series_id)
    local = client.model(stock.model_id).download()
    assert isinstance(local, LocalModel)
    with pytest.raises(ValueError, match="has no id"):
        client.figures(local.forecast([[0.1, 0.1]], horizon_steps=2))


def test_webhooks_from_the_first_to_the_last_day(connect: Callable[..., Client]) -> None:
    client = connect()
    made = client.create_webhook("https://example.com/told", events=["job.failed"], description="pager")
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    assert [w.id for w in client.webhooks()] == [made.id]
    found = client.webhook(made.id)
    assert (found.url, found.events, found.description, found.secret) == (made.url, ["job.failed"], "pager", None)
    assert client.rotate_webhook(made).secret not in (None, made.secret)
    sent = client.test_webhook(made)
    assert (sent.event, sent.status, sent.webhook_id) == ("webhook.test", "pending", made.id)
    assert [d.id for d in client.deliveries(made.id)] == [sent.id]
    assert sent.raw["payload"]["type"] == "webhook.test"
    changed = client.change_webhook(made, enabled=False, events=["job.failed", "job.canceled"])
    assert (changed.enabled, len(changed.events)) == (False, 2)
    client.delete(made.id)
    assert list(client.webhooks()) == []


def test_an_address_that_must_not_be_called_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.create_webhook("http://127.0.0.1/x")
    assert caught.value.errors[0].pointer == "/url"
    assert caught.value.request_id
