"""The gallery over HTTP: what it lists, and that a sample is a series like any other."""

from __future__ import annotations

import io

import numpy as np
import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import ApiSettings
from domain.keys import Caller, Principal, Scope
from dynamics.samples import SAMPLES, observed
from store import keys
from store.database import Database
from store.secrets import service_secret

NAMES = ["lorenz63", "roessler", "lorenz96", "henon", "mackey-glass", "duffing", "van-der-pol"]


def values_of(client: TestClient, series: dict) -> np.ndarray:
    answer = client.get(f"/v1/series/{series['id']}/data", params={"format": "npy"})
    return np.load(io.BytesIO(answer.content))


def test_the_gallery_says_what_is_known(client: TestClient) -> None:
    found = {sample["name"]: sample for sample in client.get("/v1/samples").json()["data"]}
    assert list(found) == NAMES
    assert {name for name, sample in found.items() if sample["kind"] == "map"} == {"henon"}
    assert {name for name, sample in found.items() if sample["kind"] == "dde"} == {"mackey-glass"}
    lorenz = found["lorenz63"]
    assert (lorenz["lambda_max"], lorenz["known"]["unit"], lorenz["dt"]) == (0.9056, "1/s", 0.01)
    assert "Sprott" in lorenz["known"]["source"]
    assert found["duffing"]["input_channels"] == ["cos", "sin"]
    for sample in found.values():
        assert sample["known"]["exponents"][0] == sample["lambda_max"]
        assert sample["equations"]
        assert sample["defaults"]["steps"] >= 5000


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_becomes_a_series(client: TestClient, name: str) -> None:
    body = {"steps": 300, "noise": 0.1, "seed": 5, "skip": 20}
    made = client.post(f"/v1/samples/{name}", json=body)
    assert made.status_code == 201, made.text
    series = made.json()
    assert made.headers["Location"] == f"/v1/series/{series['id']}"
    assert made.headers["ETag"] == client.get(made.headers["Location"]).headers["ETag"]
    assert client.get(made.headers["Location"]).json() == series
    sample = SAMPLES[name]
    assert (series["channels"], series["dt"], series["time_unit"]) == (
        list(sample.channels),
        sample.dt,
        sample.time_unit,
    )
    assert series["source"]["sample"] == name
    assert [issue["code"] for issue in series["profile"]["issues"]] == ["few_steps"]  # and nothing worse
    np.testing.assert_array_equal(values_of(client, series), observed(sample, 300, noise=0.1, seed=5, skip=20))
    again = client.post(f"/v1/samples/{name}", json=body)
    assert (again.status_code, again.json()) == (200, series)
    other = client.post(f"/v1/samples/{name}", json=body | {"seed": 6})
    assert (other.status_code, other.json()["id"] != series["id"]) == (201, True)


def test_without_a_body_it_is_as_the_gallery_has_it(client: TestClient) -> None:
    made = client.post("/v1/samples/henon")
    assert (made.status_code, made.json()["n_steps"]) == (201, SAMPLES["henon"].steps)
    assert made.json()["name"] == "Hénon map, 1 % noise"
    assert client.post("/v1/samples/henon", json={}).status_code == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"steps": 1}, "/steps"),
        ({"steps": 10**7}, "/steps"),
        ({"noise": -0.1}, "/noise"),
        ({"seed": 2**63}, "/seed"),
        ({"skip": 10**7}, "/skip"),
        ({"rho": 28}, "/rho"),
    ],
)
def test_bad_variations_are_refused_where_they_are(client: TestClient, body: dict, pointer: str) -> None:
    answer = client.post("/v1/samples/lorenz63", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_an_unknown_sample_is_told_which_there_are(client: TestClient) -> None:
    answer = client.post("/v1/samples/lorentz")
    assert (answer.status_code, "lorenz63" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_limits_of_uploads_hold_for_samples(settings: ApiSettings, database: Database) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_upload_rows": 500}))) as client:
        answer = client.post("/v1/samples/henon", json={"steps": 501})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (413, "/steps")
        assert client.post("/v1/samples/henon", json={"steps": 500}).status_code == 201


def test_a_sample_belongs_to_who_made_it(settings: ApiSettings, database: Database) -> None:
    with database.write() as session:
        made = [
            keys.create(
                session,
                service_secret(settings),
                Caller(Principal(tenant)),
                tenant=tenant,
                name="samples",
                scopes=scopes,
            )
            for tenant, scopes in (("one", list(Scope)), ("two", list(Scope)), ("one", [Scope.SERIES_READ]))
        ]
    one, two, reader = ({"Authorization": f"Bearer {key.text}"} for key in made)
    with TestClient(create_app(settings)) as client:
        body = {"steps": 200}
        series = client.post("/v1/samples/henon", json=body, headers=one).json()
        foreign = client.post("/v1/samples/henon", json=body, headers=two)
        assert (foreign.status_code, foreign.json()["id"] != series["id"]) == (201, True)
        assert client.get(f"/v1/series/{series['id']}", headers=two).status_code == 404
        assert client.get("/v1/samples", headers=reader).status_code == 200
        refused = client.post("/v1/samples/henon", json=body, headers=reader)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
