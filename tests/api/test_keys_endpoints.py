"""Keys over HTTP: make, look, rotate, revoke; who am I; what was done."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import ApiSettings
from domain.keys import WORK, Caller, Principal, Scope, is_key
from store import keys, tenants
from store.database import Database
from store.secrets import service_secret
from store.tables import JobRow

OPERATOR = Caller(Principal("acme"))


@pytest.fixture
def app(settings: ApiSettings) -> FastAPI:
    return create_app(settings.model_copy(update={"key_cache_seconds": 30.0}))


@pytest.fixture
def admin(app: FastAPI, settings: ApiSettings, database: Database) -> Iterator[TestClient]:
    with database.write() as session:
        made = keys.create(
            session, service_secret(settings), OPERATOR, tenant="acme", name="admin", scopes=[*WORK, Scope.ADMIN]
        )
    with TestClient(app, headers={"Authorization": f"Bearer {made.text}"}) as client:
        yield client


def with_key(client: TestClient, key: str, path: str = "/v1/me") -> int:
    return client.get(path, headers={"Authorization": f"Bearer {key}"}).status_code


def test_a_key_is_made_shown_once_and_works(admin: TestClient) -> None:
    answer = admin.post("/v1/keys", json={"name": "dashboard", "scopes": ["jobs:read"], "expires_days": 30})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json()
    assert is_key(made["key"])
    assert made["key"].startswith(made["hint"])
    assert with_key(admin, made["key"], "/v1/jobs") == 200
    assert with_key(admin, made["key"], "/v1/keys") == 403
    again = admin.get(answer.headers["Location"])
    assert again.status_code == 200
    assert again.json().keys() == made.keys() - {"key"}
    listed = admin.get("/v1/keys").json()["data"]
    assert [key["name"] for key in listed] == ["dashboard", "admin"]
    assert made["key"] not in admin.get("/v1/keys").text


def test_the_default_is_all_work_and_no_administration(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"name": "notebook"}).json()
    assert (set(made["scopes"]), made["expires_at"]) == (set(WORK), None)


def test_nobody_gives_what_is_about_the_whole_service(admin: TestClient) -> None:
    answer = admin.post("/v1/keys", json={"name": "prometheus", "scopes": ["metrics"]})
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["everything"]},
        {"name": "x", "expires_days": 0},
        {"name": "x", "expires_days": 1e9},
        {"name": "x", "tenant": "other"},
        {"name": "a\nb"},
    ],
)
def test_what_cannot_be_made_is_refused(admin: TestClient, body: dict[str, object]) -> None:
    assert admin.post("/v1/keys", json=body).status_code == 422


def test_a_revoked_key_is_refused_at_once(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"name": "x"}).json()
    assert with_key(admin, made["key"]) == 200  # and is remembered for 30 s
    answer = admin.delete(f"/v1/keys/{made['id']}")
    assert (answer.status_code, answer.json()["revoked_at"] is not None) == (200, True)
    assert with_key(admin, made["key"]) == 401
    assert admin.delete(f"/v1/keys/{made['id']}").json()["revoked_at"] == answer.json()["revoked_at"]


def test_a_rotated_key_goes_on_for_its_overlap(admin: TestClient) -> None:
    old = admin.post("/v1/keys", json={"name": "x", "scopes": ["jobs:read"]}).json()
    answer = admin.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_hours": 2})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["replaces"], new["name"], new["scopes"]) == (old["id"], "x", ["jobs:read"])
    assert with_key(admin, old["key"]) == with_key(admin, new["key"]) == 200
    assert admin.get(f"/v1/keys/{old['id']}").json()["expires_at"] is not None
    assert admin.post(f"/v1/keys/{new['id']}/rotate").status_code == 201  # without a body: a day
    admin.delete(f"/v1/keys/{new['id']}")
    assert admin.post(f"/v1/keys/{new['id']}/rotate").status_code == 409


def test_me_says_who_and_how_much(admin: TestClient, settings: ApiSettings, database: Database) -> None:
    with database.write() as session:
        tenants.set_limits(session, OPERATOR, "acme", {"max_running_jobs": 2, "requests_per_minute": None})
    me = admin.get("/v1/me").json()
    assert (me["tenant"], me["key"]["name"]) == ("acme", "admin")
    assert me["quotas"] == {"max_running_jobs": 2, "max_queued_jobs": None, "requests_per_minute": None}
    assert me["usage"] == {"running_jobs": 0, "queued_jobs": 0}
    series = admin.post(
        "/v1/series", content="x\n" + "\n".join(f"{i % 17}" for i in range(300)), headers={"Content-Type": "text/csv"}
    ).json()
    assert admin.post("/v1/jobs", json={"kind": "lyapunov", "series_id": series["id"]}).status_code == 202
    assert admin.get("/v1/me").json()["usage"] == {"running_jobs": 0, "queued_jobs": 1}


def test_audit_events_tell_who_did_what(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"name": "x"}, headers={"X-Request-ID": "mine-1"}).json()
    admin.delete(f"/v1/keys/{made['id']}")
    events = admin.get("/v1/audit-events").json()["data"]
    assert [e["action"] for e in events if e["target"] == made["id"]] == ["key.revoked", "key.created"]
    (created,) = [e for e in events if (e["target"], e["action"]) == (made["id"], "key.created")]
    me = admin.get("/v1/me").json()["key"]["id"]
    assert (created["key_id"], created["address"], created["request_id"]) == (me, "testclient", "mine-1")
    assert {e["action"] for e in admin.get("/v1/audit-events?action=key.revoked").json()["data"]} == {"key.revoked"}


def test_an_id_that_is_none_is_not_found(admin: TestClient) -> None:
    for id in ("key_" + "0" * 32, "job_" + "0" * 32, "nonsense"):
        assert admin.get(f"/v1/keys/{id}").status_code == 404
        assert admin.delete(f"/v1/keys/{id}").status_code == 404
        assert admin.post(f"/v1/keys/{id}/rotate").status_code == 404


def test_what_is_done_with_data_is_in_the_audit_with_who_did_it(admin: TestClient) -> None:
    """And in the job, so that the worker's log can say whose it is."""
    body = "x\n" + "\n".join(f"{i % 17}" for i in range(300))
    series = admin.post("/v1/series", content=body, headers={"Content-Type": "text/csv"}).json()
    request = {"kind": "lyapunov", "series_id": series["id"]}
    job = admin.post("/v1/jobs", json=request, headers={"X-Request-ID": "mine-2", "Idempotency-Key": "k"}).json()
    admin.post("/v1/jobs", json=request, headers={"Idempotency-Key": "k"})
    for control in ("pause", "resume", "cancel", "cancel"):
        assert admin.post(f"/v1/jobs/{job['id']}/{control}").status_code in (200, 202)
    again = admin.post(f"/v1/jobs/{job['id']}/retry").json()
    assert admin.post(f"/v1/jobs/{again['id']}/cancel").status_code == 202
    assert admin.delete(f"/v1/series/{series['id']}").status_code == 204
    assert admin.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert admin.delete(f"/v1/jobs/{job['id']}").status_code == 404
    events = admin.get("/v1/audit-events?limit=200").json()["data"]

    def done(id: str) -> list[str]:
        return sorted(e["action"] for e in events if e["target"] == id)

    assert done(job["id"]) == ["job.canceled", "job.deleted", "job.paused", "job.resumed", "job.submitted"]
    assert done(again["id"]) == ["job.canceled", "job.submitted"]
    assert done(series["id"]) == ["series.deleted"]
    (submitted,) = [e for e in events if (e["target"], e["action"]) == (job["id"], "job.submitted")]
    me = admin.get("/v1/me").json()["key"]["id"]
    assert (submitted["key_id"], submitted["request_id"], submitted["detail"]) == (me, "mine-2", {"kind": "lyapunov"})


def test_a_job_knows_the_key_request_and_trace_it_came_from(admin: TestClient, database: Database) -> None:
    body = "x\n" + "\n".join(f"{i % 17}" for i in range(300))
    series = admin.post("/v1/series", content=body, headers={"Content-Type": "text/csv"}).json()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = admin.post(
        "/v1/jobs",
        json={"kind": "lyapunov", "series_id": series["id"]},
        headers={"X-Request-ID": "mine-3", "traceparent": trace},
    )
    with database.read() as session:
        job = session.get(JobRow, answer.json()["id"])
    assert job is not None
    assert (job.key_id, job.request_id) == (admin.get("/v1/me").json()["key"]["id"], "mine-3")
    assert job.traceparent is not None
    assert job.traceparent.split("-")[1] == trace.split("-")[1]


def test_a_full_queue_is_refused_and_noted(admin: TestClient, database: Database) -> None:
    body = "x\n" + "\n".join(f"{i % 17}" for i in range(300))
    series = admin.post("/v1/series", content=body, headers={"Content-Type": "text/csv"}).json()
    with database.write() as session:
        tenants.set_limits(session, OPERATOR, "acme", {"max_queued_jobs": 1})
    request = {"kind": "lyapunov", "series_id": series["id"]}
    assert admin.post("/v1/jobs", json=request).status_code == 202
    for _ in range(3):
        answer = admin.post("/v1/jobs", json=request)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
        assert "Retry-After" in answer.headers
    noted: list[dict[str, object]] = []
    for _ in range(100):  # written beside the request
        noted = admin.get("/v1/audit-events?action=quota.refused").json()["data"]
        if noted:
            break
        time.sleep(0.02)
    assert 1 <= len(noted) <= 2  # once a minute, which may just have ended
    assert noted[0]["detail"] == {"quota": "jobs"}
