"""Webhooks over HTTP: made, changed, tested, repeated; and every bad request with its place."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from stock import Stock

from api.settings import ApiSettings
from api.webhooks import examples
from store import deliveries, webhooks
from store.database import Database
from store.deliveries import Attempt
from store.secrets import service_secret
from store.tables import WebhookDeliveryRow

URL = "https://hooks.example.org/attractor"
NO_ONE = "whk_" + "0" * 32


def make(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    return answer.json()


def attempt(database: Database, settings: ApiSettings, delivery_id: str, outcome: Attempt) -> None:
    """What a worker does."""
    secret = service_secret(settings)
    with database.write() as session:
        claimed = deliveries.claim(session, secret, delivery_id)
        assert claimed is not None
        deliveries.record(session, settings, claimed, outcome)


@pytest.mark.parametrize("example", [*examples.NEW.values()], ids=[*examples.NEW])
def test_the_examples_make_webhooks(client: TestClient, example: dict[str, Any]) -> None:
    made = make(client, **example["value"])
    assert made["url"] == example["value"]["url"]
    assert made["enabled"] is True
    assert made["events"] == sorted(example["value"].get("events", ["job.canceled", "job.failed", "job.succeeded"]))


def test_the_secret_is_shown_once(client: TestClient, settings: ApiSettings) -> None:
    made = make(client)
    secret = made.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert secret == webhooks.secret(service_secret(settings), made["id"], 1)
    path = f"/v1/webhooks/{made['id']}"
    assert client.get(path).json() == made
    assert client.get("/v1/webhooks").json() == {"data": [made], "next_cursor": None}
    assert secret not in client.patch(path, json={"description": "x"}).text
    rotated = client.post(f"{path}/rotate").json()
    assert rotated["secret"] not in (secret, None)
    assert rotated["rotated_at"] is not None
    assert "secret" not in client.get(path).json()


def test_a_webhook_is_changed_and_deleted(client: TestClient) -> None:
    path = f"/v1/webhooks/{make(client, description='mine')['id']}"
    for example in examples.CHANGES.values():
        assert client.patch(path, json=example["value"]).status_code == 200
    changed = client.get(path).json()
    assert changed["url"] == "https://example.org/new"
    assert changed["events"] == ["job.succeeded"]
    assert changed["description"] == "mine"
    assert (changed["enabled"], changed["disabled_because"]) == (False, "Switched off by its owner.")
    assert changed["disabled_at"] is not None
    again = client.patch(path, json={"enabled": True, "description": None}).json()
    assert (again["enabled"], again["disabled_at"], again["description"]) == (True, None, None)
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404
    assert client.get(path).status_code == 404


def test_lists_are_pages(client: TestClient) -> None:
    ids = [make(client)["id"] for _ in range(3)][::-1]
    page = client.get("/v1/webhooks?limit=2").json()
    assert [row["id"] for row in page["data"]] == ids[:2]
    rest = client.get("/v1/webhooks", params={"cursor": page["next_cursor"]}).json()
    assert ([row["id"] for row in rest["data"]], rest["next_cursor"]) == (ids[2:], None)
    assert client.get("/v1/webhooks?cursor=nonsense").status_code == 400


BAD = [
    ({}, "/url", "required"),
    ({"url": ""}, "/url", "at least 1"),
    ({"url": 7}, "/url", "string"),
    ({"url": "http://example.org"}, "/url", "https://"),
    ({"url": "https://localhost:22/"}, "/url", "port 22"),
    ({"url": "https://127.0.0.1/"}, "/url", "loopback"),
    ({"url": "https://[::ffff:10.0.0.1]/"}, "/url", "IPv4-mapped"),
    ({"url": "https://169.254.169.254/latest"}, "/url", "link-local"),
    ({"url": "https://2130706433/"}, "/url", "decimal"),
    ({"url": "https://user:pass@example.org"}, "/url", "user name"),
    ({"url": "https://example.org/" + "a" * 2000}, "/url", "2000"),
    ({"url": "https://１.1.1.1/"}, "/url", "ASCII"),
    ({"url": URL, "events": []}, "/events", "at least 1"),
    ({"url": URL, "events": ["job.exploded"]}, "/events/0", "job.succeeded"),
    ({"url": URL, "events": "job.failed"}, "/events", "list"),
    ({"url": URL, "description": "a\u0000b"}, "/description", "printable"),
    ({"url": URL, "description": "x" * 201}, "/description", "200"),
    ({"url": URL, "secret": "mine"}, "/secret", "no known field"),
]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("body", "pointer", "words"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_said(client: TestClient, body: dict[str, Any], pointer: str, words: str) -> None:
    answer = client.post("/v1/webhooks", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_parameters")
    assert problem["errors"][0]["pointer"] == pointer
    assert words in problem["detail"]
    if "url" in body:
        path = f"/v1/webhooks/{make(client)['id']}"
        assert client.patch(path, json=body).json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_nothing_to_change_is_an_error(client: TestClient) -> None:
    path = f"/v1/webhooks/{make(client)['id']}"
    answer = client.patch(path, json={})
    assert answer.status_code == 422
    assert "at least one of" in answer.json()["detail"]
    for field in ("url", "events", "enabled"):
        assert client.patch(path, json={field: None}).status_code == 422


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_ids_that_are_none_are_not_found(client: TestClient) -> None:
    id = make(client)["id"]
    delivery = "dlv_" + "0" * 32
    for method, path in (
        ("GET", f"/v1/webhooks/{NO_ONE}"),
        ("GET", "/v1/webhooks/nonsense"),
        ("PATCH", f"/v1/webhooks/{NO_ONE}"),
        ("DELETE", f"/v1/webhooks/{NO_ONE}"),
        ("POST", f"/v1/webhooks/{NO_ONE}/rotate"),
        ("POST", f"/v1/webhooks/{NO_ONE}/test"),
        ("GET", f"/v1/webhooks/{NO_ONE}/deliveries"),
        ("GET", f"/v1/webhooks/{id}/deliveries/{delivery}"),
        ("GET", f"/v1/webhooks/{id}/deliveries/nonsense"),
        ("POST", f"/v1/webhooks/{id}/deliveries/{delivery}/redeliver"),
    ):
        answer = client.request(method, path, json={"enabled": False} if method == "PATCH" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_there_is_a_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 1)
    make(client)
    answer = client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


def test_a_job_that_ends_leaves_a_delivery_and_its_log(
    client: TestClient, stock: Stock, database: Database, settings: ApiSettings
) -> None:
    id = make(client)["id"]
    job = client.post(
        "/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id, "metadata": {"run": 7}}
    ).json()
    path = f"/v1/webhooks/{id}/deliveries"
    assert client.get(path).json()["data"] == []
    client.post(f"/v1/jobs/{job['id']}/cancel")
    (delivery,) = client.get(path).json()["data"]
    assert (delivery["event"], delivery["status"], delivery["attempts"]) == ("job.canceled", "pending", 0)
    assert delivery["payload"]["data"]["id"] == job["id"]
    assert delivery["payload"]["data"]["metadata"] == {"run": 7}
    one = f"{path}/{delivery['id']}"
    attempt(database, settings, delivery["id"], Attempt("refused", 0.25, status_code=500, error="no", response="oh"))
    seen = client.get(one).json()
    assert (seen["status"], seen["attempts"], seen["finished_at"]) == ("pending", 1, None)
    (entry,) = seen["log"]
    assert entry.pop("at").endswith("Z")
    assert entry == {"attempt": 1, "status_code": 500, "seconds": 0.25, "error": "no", "response": "oh"}
    assert client.get(f"/v1/webhooks/{id}").json()["failing_since"] is not None
    hastened = client.post(f"{one}/redeliver")
    assert (hastened.status_code, hastened.json()["id"]) == (202, delivery["id"])
    attempt(database, settings, delivery["id"], Attempt("delivered", 0.1, status_code=204))
    assert client.get(one).json()["status"] == "delivered"
    again = client.post(f"{one}/redeliver").json()
    assert again["id"] != delivery["id"]
    assert again["message_id"] == delivery["message_id"]
    assert [row["id"] for row in client.get(path).json()["data"]] == [again["id"], delivery["id"]]
    assert [row["id"] for row in client.get(f"{path}?status=delivered").json()["data"]] == [delivery["id"]]
    page = client.get(f"{path}?limit=1").json()
    assert client.get(path, params={"cursor": page["next_cursor"]}).json()["data"][0]["id"] == delivery["id"]


def test_a_disabled_webhook_sends_nothing(client: TestClient, database: Database) -> None:
    id = make(client)["id"]
    sent = client.post(f"/v1/webhooks/{id}/test")
    assert (sent.status_code, sent.json()["event"]) == (202, "webhook.test")
    assert sent.json()["payload"]["data"] == {"webhook_id": id}
    client.patch(f"/v1/webhooks/{id}", json={"enabled": False})
    for path in (f"/v1/webhooks/{id}/test", f"/v1/webhooks/{id}/deliveries/{sent.json()['id']}/redeliver"):
        answer = client.post(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")
        assert "Switched off by its owner." in answer.json()["detail"]
    with database.write() as session:
        session.execute(update(WebhookDeliveryRow).values(status="failed", next_attempt_at=None))
    assert client.post(f"/v1/webhooks/{id}/deliveries/{sent.json()['id']}/redeliver").status_code == 409
