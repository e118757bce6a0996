"""What every answer carries, and what happens when something breaks inside."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import ApiSettings

# Nothing here depends on the database.
pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


def test_every_answer_has_a_request_id_and_security_headers(client: TestClient) -> None:
    for path in ("/", "/livez", "/v1/capabilities", "/v1/nothing", "/openapi.json", "/docs"):
        headers = client.get(path).headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers


def test_a_given_request_id_is_kept_unless_it_is_strange(client: TestClient) -> None:
    given = {"X-Request-ID": "trace-1:a.b_c"}
    assert client.get("/livez", headers=given).headers["x-request-id"] == "trace-1:a.b_c"
    assert client.get("/v1/nothing", headers=given).json()["request_id"] == "trace-1:a.b_c"
    for strange in ("a b", "x" * 200, "<script>", ""):
        assert client.get("/livez", headers={"X-Request-ID": strange}).headers["x-request-id"].startswith("req_")


def test_a_bug_is_a_500_that_tells_nothing_but_the_request_id(app: FastAPI) -> None:
    def broken() -> None:
        raise KeyError("secret")

    app.add_api_route("/broken", broken)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken", headers={"X-Request-ID": "trace-2"})
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert (answer.json()["code"], answer.json()["request_id"]) == ("internal", "trace-2")
        assert answer.headers["x-request-id"] == "trace-2"
        assert "secret" not in answer.text
        assert client.get("/livez").status_code == 200


def test_other_origins_may_call_only_when_they_are_named(settings: ApiSettings) -> None:
    asking = {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST"}
    with TestClient(create_app(settings)) as client:
        assert client.options("/v1/jobs", headers=asking).status_code == 405
    named = settings.model_copy(update={"cors_origins": ["https://lab.example"]})
    with TestClient(create_app(named)) as client:
        assert client.options("/v1/jobs", headers=asking).headers["access-control-allow-origin"] == asking["Origin"]
        assert (
            "access-control-allow-origin"
            not in client.get("/livez", headers={"Origin": "https://else.example"}).headers
        )


def test_the_page_and_the_reference_need_nothing_from_elsewhere(client: TestClient) -> None:
    for path in ("/", "/docs"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert 'src="http' not in answer.text
        assert 'href="http' not in answer.text


def test_the_reference_names_every_operation(client: TestClient) -> None:
    page, document = client.get("/docs").text, client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"].replace("'", "&#x27;") in page
            assert path in page


def test_a_405_names_every_method_of_the_path(client: TestClient) -> None:
    assert client.put("/v1/jobs").headers["allow"] == "GET, POST, HEAD"
    assert client.patch("/v1/series/ser_1").headers["allow"] == "DELETE, GET, HEAD"


def test_a_body_of_unknown_length_is_counted(client: TestClient) -> None:
    answer = client.post(
        "/v1/jobs", content=(b" " * 10_000 for _ in range(50)), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
