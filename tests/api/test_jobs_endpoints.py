"""Jobs over HTTP: submit, validate, wait, look again, cancel, result."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from stock import Stock

from api.jobs.checks import longest_training_run
from api.jobs.examples import REQUESTS, RETRIES
from domain.errors import SeriesTooShort
from domain.jobs import ErrorCode, JobError
from domain.specs import LyapunovSpec, TrainSpec
from dynamics.lyapunov import analyze
from dynamics.training.split import split
from store import leases
from store.tables import JobRow, TenantRow

JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}


def lyapunov(stock: Stock, **fields: Any) -> dict[str, Any]:
    return {"kind": "lyapunov", "series_id": stock.series_id} | fields


def count_jobs(client: TestClient) -> int:
    return len(client.get("/v1/jobs").json()["data"])


@pytest.mark.parametrize("name", REQUESTS)
def test_every_example_of_the_document_is_accepted(client: TestClient, stock: Stock, name: str) -> None:
    request = dict(REQUESTS[name]["value"])
    request |= {"model_id": stock.model_id} if "model_id" in request else {"series_id": stock.series_id}
    checked = client.post("/v1/jobs", json=request, params={"validate_only": True})
    assert checked.status_code == 200
    assert checked.json()["valid"] is True
    assert count_jobs(client) == 0
    answer = client.post("/v1/jobs", json=request)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["etag"] == '"1"'
    assert (job["kind"], job["status"], job["version"], job["attempt"]) == (request["kind"], "queued", 1, 0)
    assert job["series_id"] == stock.series_id
    assert job["metadata"] == request.get("metadata", {})
    assert job["request"] == {k: v for k, v in checked.json()["request"].items() if k != "metadata"}
    assert job == client.get(answer.headers["location"]).json()


def test_a_submitted_job_is_announced(client: TestClient, stock: Stock) -> None:
    client.post("/v1/jobs", json=lyapunov(stock))
    assert len(list(stock.settings.queue_dir.rglob("*.msg"))) == 1


def test_the_same_key_makes_one_job(client: TestClient, stock: Stock) -> None:
    headers = {"Idempotency-Key": "8e03978e"}
    first = client.post("/v1/jobs", json=lyapunov(stock), headers=headers)
    again = client.post("/v1/jobs", json=lyapunov(stock), headers=headers)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert count_jobs(client) == 1
    other = client.post("/v1/jobs", json=lyapunov(stock, channels=["x"]), headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_mismatch"


def test_a_repeated_request_is_answered_though_its_series_is_gone(client: TestClient, stock: Stock) -> None:
    headers = {"Idempotency-Key": "8e03978e"}
    job = client.post("/v1/jobs", json=lyapunov(stock), headers=headers).json()
    stock.finish(job["id"], stock.analysis_row())
    assert client.delete(f"/v1/series/{stock.series_id}").status_code == 204
    again = client.post("/v1/jobs", json=lyapunov(stock), headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, job["id"], "succeeded")
    assert client.post("/v1/jobs", json=lyapunov(stock)).status_code == 404
    other = client.post("/v1/jobs", json=lyapunov(stock, channels=["x"]), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    bad = lyapunov(stock, metadata={"a": 1e999})
    answer = client.post("/v1/jobs", content=json.dumps(bad).replace("Infinity", "1e999"), headers=headers | JSON)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/metadata")


def test_an_analysis_of_other_channels_is_refused_at_once(client: TestClient, stock: Stock) -> None:
    train = {"kind": "train", "series_id": stock.series_id, "analysis_id": stock.analysis_id}
    for channels in (["y"], ["y", "x"]):
        for validate_only in (True, False):
            answer = client.post(
                "/v1/jobs", json=train | {"channels": channels}, params={"validate_only": validate_only}
            )
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["pointer"] == "/analysis_id"
            assert "of the channels x, y, not of y" in answer.json()["detail"]
    assert count_jobs(client) == 0
    assert client.post("/v1/jobs", json=train | {"channels": ["x", "y"]}).status_code == 202


@pytest.mark.parametrize(("lengths", "status"), [([199], 422), ([200], 202), ([39] * 6, 422), ([40] * 5, 202)])
def test_a_series_is_long_enough_when_the_analysis_says_so(
    client: TestClient, stock: Stock, lengths: list[int], status: int
) -> None:
    rng = np.random.default_rng(0)
    blocks = [block for n in lengths for block in (rng.normal(size=(n, 2)), np.full((1, 2), np.nan))]
    values = np.concatenate(blocks[:-1])
    csv = "\n".join(",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in values)
    uploaded = client.post(
        "/v1/series", params={"dt": 1, "missing": "split", "channels": "x,y"}, content=csv, headers=CSV
    )
    assert uploaded.status_code == 201, uploaded.text
    answer = client.post("/v1/jobs", json=lyapunov(stock, series_id=uploaded.json()["id"]))
    assert answer.status_code == status, answer.text
    segments = [values[s["start"] : s["stop"]] for s in uploaded.json()["profile"]["segments"]]
    if status == 422:
        assert answer.json()["code"] == "series_too_short"
        with pytest.raises(SeriesTooShort):
            analyze(segments, dt=1.0, time_unit="step", spec=LyapunovSpec())


def test_the_training_part_is_measured_as_training_cuts_it() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        lengths = [int(n) for n in rng.integers(2, 300, rng.integers(1, 6))]
        test, validation = (float(v) for v in rng.uniform([0, 0.01], [0.5, 0.4]))
        spec = TrainSpec(test_fraction=test, validation_fraction=validation)
        firsts = np.cumsum([0, *(n + 3 for n in lengths)]).tolist()
        parts = split([(first, np.zeros((n, 1))) for first, n in zip(firsts, lengths, strict=False)], spec)
        runs = [(first, first + n) for first, n in zip(firsts, lengths, strict=False)]
        assert longest_training_run(runs, spec) == max((len(v) for _, v in parts.train), default=0)


def test_prefer_wait_answers_200_when_the_job_ends_in_time(client: TestClient, stock: Stock) -> None:
    def work() -> None:
        while not (queued := client.get("/v1/jobs", params={"status": "queued"}).json()["data"]):
            time.sleep(0.01)
        stock.finish(queued[0]["id"], stock.analysis_row())

    worker = threading.Thread(target=work)
    worker.start()
    answer = client.post("/v1/jobs", json=lyapunov(stock), headers={"Prefer": "wait=30"})
    worker.join()
    job = answer.json()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert "retry-after" not in answer.headers
    assert job["status"] == "succeeded"
    assert job["result"]["href"] == f"/v1/analyses/{job['result']['id']}"
    assert client.get(job["links"]["result"]).json() == client.get(job["result"]["href"]).json()


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [("wait=0", "wait=0"), ("respond-async, wait=0", "wait=0"), ("wait=-1", None), ("wait=soon", None), ("walk", None)],
)
def test_what_is_malformed_in_prefer_is_ignored(
    client: TestClient, stock: Stock, prefer: str, applied: str | None
) -> None:
    answer = client.post("/v1/jobs", json=lyapunov(stock), headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.headers.get("preference-applied") == applied


def test_an_unchanged_job_is_304(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    path = job["links"]["self"]
    etag = client.get(path).headers["etag"]
    for sent in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = client.get(path, headers={"If-None-Match": sent})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    stock.claim(job["id"])
    answer = client.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.json()["status"], answer.json()["attempt"]) == (200, "running", 1)
    assert answer.headers["etag"] != etag


def test_wait_returns_when_the_known_version_has_passed(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    worker = threading.Timer(0.2, stock.claim, [job["id"]])
    worker.start()
    answer = client.get(job["links"]["self"], params={"wait": 30}, headers={"If-None-Match": '"1"'})
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    assert client.get(job["links"]["self"], params={"wait": 30}, headers={"If-None-Match": '"1"'}).status_code == 200


def test_wait_returns_when_the_job_has_ended(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    worker = threading.Timer(0.2, stock.finish, [job["id"], stock.analysis_row()])
    worker.start()
    answer = client.get(job["links"]["self"], params={"wait": 30})
    worker.join()
    assert answer.json()["status"] == "succeeded"


def test_a_queued_job_is_canceled_at_once_and_a_running_one_is_asked(client: TestClient, stock: Stock) -> None:
    queued = client.post("/v1/jobs", json=lyapunov(stock)).json()
    assert [client.post(queued["links"]["cancel"]).status_code for _ in range(2)] == [202, 200]
    canceled = client.get(queued["links"]["self"]).json()
    assert canceled["status"] == "canceled"
    assert canceled["links"]["cancel"] is None
    running = client.post("/v1/jobs", json=lyapunov(stock)).json()
    stock.claim(running["id"])
    answer = client.post(running["links"]["cancel"])
    assert (answer.status_code, answer.json()["status"]) == (202, "canceling")


LOST = JobError(code=ErrorCode.TIMEOUT, detail="Not done after 60 s.", retryable=True)


def test_a_job_is_paused_and_resumed(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    path, links = job["links"]["self"], job["links"]
    assert (links["pause"], links["resume"], links["retry"]) == (f"{path}/pause", None, None)
    first, again = client.post(links["pause"]), client.post(links["pause"])
    assert (first.status_code, again.status_code, first.json()["status"]) == (202, 200, "paused")
    assert first.headers["location"] == path
    links = first.json()["links"]
    assert (links["pause"], links["resume"], links["cancel"]) == (None, f"{path}/resume", f"{path}/cancel")
    first, again = client.post(links["resume"]), client.post(links["resume"])
    assert (first.status_code, again.status_code, first.json()["status"]) == (202, 200, "queued")
    assert len(list(stock.settings.queue_dir.rglob("*.msg"))) == 2, "announced like a new one, once"


def test_a_running_job_is_asked_to_pause(client: TestClient, stock: Stock) -> None:
    path = client.post("/v1/jobs", json=lyapunov(stock)).json()["links"]["self"]
    lease = stock.claim(path.rsplit("/", 1)[1])
    assert [client.post(f"{path}/pause").status_code for _ in range(2)] == [202, 200]
    early = client.post(f"{path}/resume")
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (409, "state_forbids", "1")
    with stock.database.write() as session:
        leases.acknowledge_pause(session, lease)
    assert client.get(path).json()["status"] == "paused"
    assert client.post(f"{path}/cancel").json()["status"] == "canceled"
    for control in ("pause", "resume"):
        answer = client.post(f"{path}/{control}")
        assert (answer.status_code, answer.json()["code"]) == (409, "state_forbids")


def test_a_failed_job_is_retried_with_other_limits(client: TestClient, stock: Stock) -> None:
    request = lyapunov(stock, limits={"timeout_s": 60, "memory_mb": 512}, priority=-2, metadata={"mine": 1})
    job = client.post("/v1/jobs", json=request).json()
    path = job["links"]["self"]
    assert (job["queue"], job["priority"], job["retry_of"]) == ("cpu", -2, None)
    assert job["limits"] == {"timeout_s": 60, "memory_mb": 512} == job["request"]["limits"]
    refused = client.post(f"{path}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "state_forbids")
    stock.fail(job["id"], LOST)
    assert client.get(path).json()["links"]["retry"] == f"{path}/retry"
    first = client.post(f"{path}/retry", json={"limits": {"timeout_s": 120}, "priority": 4})
    again = client.post(f"{path}/retry")
    new = first.json()
    assert (first.status_code, again.status_code, again.json()["id"]) == (202, 200, new["id"])
    assert first.headers["location"] == again.headers["location"] == new["links"]["self"] != path
    assert (new["status"], new["retry_of"], new["priority"], new["metadata"]) == ("queued", job["id"], 4, {"mine": 1})
    assert new["limits"] == {"timeout_s": 120, "memory_mb": 512} == new["request"]["limits"]
    assert len(list(stock.settings.queue_dir.rglob("*.msg"))) == 2


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"limits": {"timeout_s": 0}}, "/limits/timeout_s"),
        ({"limits": {"memory_mb": 1}}, "/limits/memory_mb"),
        ({"priority": 11}, "/priority"),
        ({"params": {}}, "/params"),
    ],
)
def test_a_retry_changes_limits_and_priority_only(
    client: TestClient, stock: Stock, body: dict[str, Any], pointer: str
) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    stock.fail(job["id"], LOST)
    answer = client.post(f"{job['links']['self']}/retry", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    for name, example in RETRIES.items():
        assert client.post(f"{job['links']['self']}/retry", json=example["value"]).status_code in (200, 202), name


def test_a_job_whose_series_is_gone_cannot_be_retried(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    client.post(job["links"]["cancel"])
    assert client.delete(f"/v1/series/{stock.series_id}").status_code == 204
    answer = client.post(f"{job['links']['self']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "state_forbids")
    assert stock.series_id in answer.json()["detail"]


def test_no_more_jobs_wait_than_may(client: TestClient, stock: Stock) -> None:
    with stock.database.write() as session:
        session.add(TenantRow(name="default", max_queued_jobs=1))
    failed = client.post("/v1/jobs", json=lyapunov(stock)).json()
    stock.fail(failed["id"], LOST)
    assert client.post("/v1/jobs", json=lyapunov(stock)).status_code == 202
    horizon = {"horizon_steps": 20_000}
    for path, body in (
        ("/v1/jobs", lyapunov(stock)),
        (f"/v1/models/{stock.model_id}/forecasts", horizon),
        (f"{failed['links']['self']}/retry", {}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded"), path
        assert int(answer.headers["retry-after"]) > 0


def test_the_result_of_a_job_that_has_none(client: TestClient, stock: Stock) -> None:
    job = client.post("/v1/jobs", json=lyapunov(stock)).json()
    early = client.get(job["links"]["result"])
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (409, "not_ready", "1")
    stock.fail(job["id"], JobError(code=ErrorCode.DIVERGED, detail="All 4 runs diverged.", retryable=False))
    failed = client.get(job["links"]["result"])
    assert (failed.status_code, failed.json()["code"]) == (409, "no_result")
    assert failed.json()["detail"] == "The job failed (diverged): All 4 runs diverged."
    assert "retry-after" not in failed.headers
    assert client.get(job["links"]["self"]).json()["error"]["code"] == "diverged"
    assert client.post(f"{job['links']['self']}/cancel").json()["code"] == "state_forbids"


def test_jobs_are_listed_by_status_kind_and_series(client: TestClient, stock: Stock) -> None:
    first = client.post("/v1/jobs", json=lyapunov(stock)).json()["id"]
    second = client.post("/v1/jobs", json={"kind": "evaluate", "model_id": stock.model_id}).json()["id"]
    stock.claim(first)

    def ids(**params: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=params).json()["data"]]

    assert ids() == [second, first]
    assert ids(status="running") == [first]
    assert ids(kind="evaluate") == [second]
    assert ids(series_id=stock.series_id) == [second, first]
    assert ids(series_id=stock.series_id[:-4] + "0000") == []
    page = client.get("/v1/jobs", params={"limit": 1}).json()
    assert ids(cursor=page["next_cursor"]) == [first]


def test_another_tenants_job_is_not_there(client: TestClient, stock: Stock) -> None:
    path = client.post("/v1/jobs", json=lyapunov(stock)).json()["links"]["self"]
    with stock.database.write() as session:
        session.query(JobRow).update({"tenant": "somebody else"})
    for method, place in [
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/result"),
        ("POST", "/cancel"),
        ("POST", "/pause"),
        ("POST", "/resume"),
        ("POST", "/retry"),
    ]:
        assert client.request(method, path + place).status_code == 404
    assert count_jobs(client) == 0
