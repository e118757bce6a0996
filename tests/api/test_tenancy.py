"""Nobody sees another tenant's data: every operation of the OpenAPI document, asked by a stranger.

The matrix is made from the document, so a new endpoint is in it by itself: one that forgets whose data it is fails here,
and so does one whose ids this file does not know.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from stock import Stock, make_stock

from api.app import create_app
from api.settings import ApiSettings
from domain.ids import PREFIXES
from domain.keys import Caller, Principal, Scope
from store import keys
from store.blobs import Blobs
from store.database import Database
from store.secrets import service_secret
from store.tables import Base, ModelRow

OWNER, STRANGER = "default", "stranger"
CSV = {"Content-Type": "text/csv"}
SERIES = "x\n" + "\n".join(f"{i % 17}" for i in range(300))
# Parts of paths that name no resource of a tenant.
PUBLIC = ("/v1/problems/{name}", "/v1/samples/{name}")


@dataclass(frozen=True)
class Tenant:
    client: TestClient
    stock: Stock
    ids: dict[str, str]  # by the collection in paths, and by the name of a parameter


@dataclass(frozen=True)
class World:
    app: FastAPI
    owner: Tenant
    stranger: Tenant


@pytest.fixture
def world(settings: ApiSettings, database: Database, blobs: Blobs) -> Iterator[World]:
    """Two tenants with one of everything."""
    app = create_app(settings)
    theirs = make_stock(settings, database, blobs)
    with database.write() as session:
        for table in Base.metadata.sorted_tables:
            if "tenant" in table.columns:
                session.execute(table.update().values(tenant=STRANGER))
    own = make_stock(settings, database, blobs)
    with TestClient(app) as client:
        tenants = []
        for name, stock in ((OWNER, own), (STRANGER, theirs)):
            with database.write() as session:
                made = keys.create(
                    session,
                    service_secret(settings),
                    Caller(Principal(name)),
                    tenant=name,
                    name="matrix",
                    scopes=list(Scope),
                )
            session_of = TestClient(app, headers={"Authorization": f"Bearer {made.text}"})
            session_of.portal = client.portal  # one event loop for both
            tenants.append(Tenant(session_of, stock, furnish(session_of, stock)))
        yield World(app, *tenants)


def furnish(client: TestClient, stock: Stock) -> dict[str, str]:
    """Let a tenant have one of everything that the API can make."""
    job = client.post("/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id})
    forecast = client.post(f"/v1/models/{stock.model_id}/forecasts", json={"horizon_steps": 5})
    webhook = client.post("/v1/webhooks", json={"url": "https://93.184.216.34/hook"})
    key = client.post("/v1/keys", json={"name": "another"})
    for answer in (job, forecast, webhook, key):
        assert answer.status_code in (201, 202), answer.text
    delivery = client.post(f"/v1/webhooks/{webhook.json()['id']}/test")
    assert delivery.status_code == 202, delivery.text
    return {
        "series": stock.series_id,
        "analyses": stock.analysis_id,
        "models": stock.model_id,
        "evaluations": stock.evaluation_id,
        "jobs": job.json()["id"],
        "forecasts": forecast.json()["id"],
        "webhooks": webhook.json()["id"],
        "keys": key.json()["id"],
        "delivery_id": delivery.json()["id"],
    }


@dataclass(frozen=True)
class Operation:
    method: str
    template: str
    body: Any
    names: dict[str, str]  # parameters that are no ids, with the examples of the document

    def parameters(self) -> list[str]:
        """Those that are ids: of a resource that belongs to somebody."""
        return [p for p in re.findall(r"{(\w+)}", self.template) if p not in self.names]

    def ask(self, client: TestClient, ids: dict[str, str], **headers: str) -> Response:
        path = self.template.format(**self.names, **ids)
        return client.request(self.method, path, json=self.body, headers=headers)


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation that names something in its path."""
    found = []
    for template, item in document["paths"].items():
        for method, operation in item.items():
            if "{" not in template or template in PUBLIC:
                continue
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            body = next((example["value"] for example in content.get("examples", {}).values()), None)
            names = {
                p["name"]: p["schema"].get("examples", p.get("examples", [p.get("example")]))[0]
                for p in operation["parameters"]
                if p["in"] == "path" and p["name"] != "id" and not p["name"].endswith("_id")
            }
            found.append(Operation(method.upper(), template, body, names))
    # What deletes comes last, and what it deletes others from after them.
    return sorted(found, key=lambda o: (o.method == "DELETE", -o.template.count("/")))


def id_of(operation: Operation, parameter: str, tenant: Tenant) -> str:
    name = operation.template.split("/")[2] if parameter == "id" else parameter
    assert name in tenant.ids, f"{operation.template}: say here how a tenant comes to have one of {name!r}"
    return tenant.ids[name]


def missing(id: str) -> str:
    """An id of the same kind that nothing has."""
    prefix, _, digits = id.partition("_")
    assert prefix in PREFIXES.values()
    return f"{prefix}_{'0' * len(digits)}"


def said(answer: Response, ids: dict[str, str]) -> tuple[int, set[str], str]:
    """All that an answer says, but for the ids that were asked for."""
    text = re.sub(r'"request_id":"[^"]*"', "", answer.text)
    for id in ids.values():
        text = text.replace(id, "ID")
    return answer.status_code, set(answer.headers), text


def leaks(world: World, operation: Operation) -> list[str]:
    """How an operation tells a stranger's id from a missing one: for each of its ids, the others being the asker's own."""
    asker = world.stranger
    own = {p: id_of(operation, p, asker) for p in operation.parameters()}
    found = []
    for parameter in own:
        foreign = {**own, parameter: id_of(operation, parameter, world.owner)}
        nothing = {**own, parameter: missing(foreign[parameter])}
        for headers in ({}, {"If-None-Match": "*"}):
            answer = operation.ask(asker.client, foreign, **headers)
            if answer.status_code != 404:
                found.append(f"{operation.method} {operation.template}: {answer.status_code} for a foreign {parameter}")
            elif said(answer, foreign) != said(operation.ask(asker.client, nothing, **headers), nothing):
                found.append(
                    f"{operation.method} {operation.template}: a foreign {parameter} is told from a missing one"
                )
    return found


def test_a_foreign_id_is_answered_like_a_missing_one(world: World) -> None:
    matrix = operations(world.app.openapi())
    assert len(matrix) > 25
    assert [leak for operation in matrix for leak in leaks(world, operation)] == []
    for operation in matrix:
        ids = {p: id_of(operation, p, world.owner) for p in operation.parameters()}
        if operation.method == "DELETE" and "jobs" in operation.template:
            world.owner.client.post(f"/v1/jobs/{ids['id']}/cancel")
        nothing = {p: missing(id) for p, id in ids.items()}
        not_there = said(operation.ask(world.owner.client, nothing), nothing)
        answer = operation.ask(world.owner.client, ids)
        # Otherwise the stranger's 404 would say nothing.
        assert said(answer, ids) != not_there, f"{operation.method} {operation.template}: not found by its owner either"
        assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_the_matrix_notices_an_endpoint_that_forgets_the_tenant(world: World, database: Database) -> None:
    router = APIRouter(prefix="/v1/models")

    @router.get("/{id}/leak")
    def leak(id: str) -> dict[str, str]:
        with database.read() as session:
            row = session.get(ModelRow, id)
        return {"id": row.id if row else "none"}

    world.app.include_router(router)
    careless = Operation("GET", "/v1/models/{id}/leak", None, {})
    assert any("200 for a foreign id" in found for found in leaks(world, careless))


def lists(document: dict[str, Any]) -> list[str]:
    return [
        path
        for path, item in document["paths"].items()
        if "get" in item and {"cursor", "limit"} <= {p["name"] for p in item["get"].get("parameters", ())}
    ]


def test_lists_and_cursors_show_nothing_foreign(world: World) -> None:
    paths = [path for path in lists(world.app.openapi()) if "{" not in path]
    assert len(paths) >= 8
    foreign = set(world.owner.ids.values())
    for path in paths:
        mine = world.owner.client.get(path).json()
        theirs = world.stranger.client.get(path)
        assert mine["data"], f"{path}: the owner has nothing to be seen"
        assert not [id for id in foreign if id in theirs.text], path
        assert not {row["id"] for row in mine["data"]} & {row["id"] for row in theirs.json()["data"]}, path
        cursor = world.owner.client.get(path, params={"limit": 1}).json()["next_cursor"]
        if cursor is not None:
            beyond = world.stranger.client.get(path, params={"cursor": cursor})
            assert not [id for id in foreign if id in beyond.text], path


def test_cursors_of_others_lead_to_ones_own_rows(world: World) -> None:
    for tenant in (world.owner, world.stranger):
        for i in range(3):
            assert tenant.client.post("/v1/series", content=f"{SERIES}\n{i}", headers=CSV).status_code == 201
            time.sleep(0.002)  # ids are ordered by milliseconds
    cursor = world.stranger.client.get("/v1/series", params={"limit": 1}).json()["next_cursor"]
    beyond = world.owner.client.get("/v1/series", params={"cursor": cursor}).json()["data"]
    own = {row["id"] for row in world.owner.client.get("/v1/series").json()["data"]}
    assert {row["id"] for row in beyond} == own  # all of them are older than the stranger's newest


def test_filters_by_foreign_ids_find_nothing(world: World) -> None:
    tried = 0
    for path, item in world.app.openapi()["paths"].items():
        names = {p["name"] for p in item.get("get", {}).get("parameters", ())} & {"series_id", "model_id"}
        for name in names if "{" not in path else ():
            id = world.owner.ids["series" if name == "series_id" else "models"]
            assert world.stranger.client.get(path, params={name: id}).json()["data"] == [], path
            tried += 1
    assert tried >= 5


def bodies(ids: dict[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """Requests that name something of a tenant, for every kind of job."""
    return [
        ("series_id", {"kind": "lyapunov", "series_id": ids["series"]}),
        ("series_id", {"kind": "train", "series_id": ids["series"]}),
        ("series_id", {"kind": "reconstruct", "series_id": ids["series"]}),
        ("analysis_id", {"kind": "train", "series_id": ids["series"], "analysis_id": ids["analyses"]}),
        ("model_id", {"kind": "evaluate", "model_id": ids["models"], "series_id": ids["series"]}),
        ("series_id", {"kind": "evaluate", "model_id": ids["models"], "series_id": ids["series"]}),
        ("model_id", {"kind": "forecast", "model_id": ids["models"], "params": {"horizon_steps": 5}}),
        (
            "series_id",
            {
                "kind": "forecast",
                "model_id": ids["models"],
                "series_id": ids["series"],
                "params": {"horizon_steps": 5},
            },
        ),
    ]


def test_a_body_that_names_something_foreign_is_answered_like_one_that_names_nothing(world: World) -> None:
    own, foreign = bodies(world.stranger.ids), bodies(world.owner.ids)
    for query in ({}, {"validate_only": "true"}):
        for (field, body), (_, theirs) in zip(own, foreign, strict=True):
            asked = {**body, field: theirs[field]}
            nothing = {**body, field: missing(theirs[field])}
            answer = world.stranger.client.post("/v1/jobs", json=asked, params=query)
            other = world.stranger.client.post("/v1/jobs", json=nothing, params=query)
            assert answer.status_code == 404, (field, body["kind"], answer.text)
            assert said(answer, {"id": theirs[field]}) == said(other, {"id": nothing[field]})
            mine = world.stranger.client.post("/v1/jobs", json=body, params=query)
            assert mine.status_code in (200, 202), (body["kind"], mine.text)


def test_a_foreign_series_beside_ones_own_is_answered_like_none(world: World) -> None:
    series, model = world.stranger.ids["series"], world.stranger.ids["models"]
    requests = [
        ("/v1/jobs", {"kind": "train", "series_id": series}),
        ("/v1/jobs", {"kind": "reconstruct", "series_id": series}),
        ("/v1/jobs", {"kind": "evaluate", "model_id": model}),
        ("/v1/jobs", {"kind": "forecast", "model_id": model, "params": {"horizon_steps": 5}}),
        (f"/v1/models/{model}/forecasts", {"horizon_steps": 5}),
    ]
    foreign = world.owner.ids["series"]
    for path, body in requests:
        for field in ("input_series", "nuisance_series"):
            answer = world.stranger.client.post(path, json=body | {field: [{"series_id": foreign}]})
            nothing = world.stranger.client.post(path, json=body | {field: [{"series_id": missing(foreign)}]})
            assert answer.status_code == 404, (path, answer.text)
            assert said(answer, {"id": foreign}) == said(nothing, {"id": missing(foreign)})


def test_a_forecast_from_a_foreign_series_is_refused(world: World) -> None:
    path = f"/v1/models/{world.stranger.ids['models']}/forecasts"
    body = {"horizon_steps": 5, "series_id": world.owner.ids["series"]}
    answer = world.stranger.client.post(path, json=body)
    nothing = world.stranger.client.post(path, json={**body, "series_id": missing(world.owner.ids["series"])})
    assert answer.status_code == 404
    assert said(answer, {"id": world.owner.ids["series"]}) == said(nothing, {"id": missing(world.owner.ids["series"])})


def test_an_idempotency_key_is_its_tenants_own(world: World) -> None:
    jobs = []
    for tenant in (world.owner, world.stranger, world.owner):
        body = {"kind": "lyapunov", "series_id": tenant.ids["series"]}
        answer = tenant.client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "the same"})
        assert answer.status_code == 202, answer.text
        jobs.append(answer.json()["id"])
    assert jobs[0] == jobs[2] != jobs[1]


def test_that_another_tenant_has_the_same_series_is_not_told(world: World) -> None:
    first = world.owner.client.post("/v1/series", content=SERIES, headers=CSV)
    second = world.stranger.client.post("/v1/series", content=SERIES, headers=CSV)
    again = world.stranger.client.post("/v1/series", content=SERIES, headers=CSV)
    assert [a.status_code for a in (first, second, again)] == [201, 201, 200]
    assert first.json()["id"] != second.json()["id"] == again.json()["id"]
    # One file for both: what one deletes is not taken from the other.
    assert world.owner.client.delete(f"/v1/series/{first.json()['id']}").status_code == 204
    kept = world.stranger.client.get(f"/v1/series/{second.json()['id']}/data", params={"format": "csv"})
    assert (kept.status_code, kept.text.count("\n")) == (200, 301)


def test_everything_that_belongs_to_somebody_says_to_whom() -> None:
    """A table of a resource that has no tenant could be asked about by nobody rightly."""
    without = {name for name, table in Base.metadata.tables.items() if "tenant" not in table.columns}
    # Parts of a row that has one; the machinery; and the tenants themselves.
    assert without == {"job_companion", "job_event", "artifact", "worker", "tenant"}
