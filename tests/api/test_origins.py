"""What pages elsewhere may not do, and what programs and our own page may."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import ApiSettings

FORM = {"files": {"file": ("a.csv", "t;x\n" + "\n".join(f"{i / 10};{i % 7}" for i in range(300)))}}
ELSEWHERE = "https://elsewhere.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ELSEWHERE},
        {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://localhost:3000", "Host": "localhost:8000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:3000", "Host": "localhost:8000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_a_page_elsewhere_changes_nothing(client: TestClient, headers: dict[str, str]) -> None:
    answer = client.post("/v1/series", headers=headers, **FORM)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "ATTRACTOR_CORS_ORIGINS" in answer.json()["detail"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert client.get("/v1/series").json()["data"] == []
    assert client.get("/v1/series", headers=headers).status_code == 200, "reading is the browser's own policy's affair"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://testserver"},
        {"Origin": "https://lab.example", "Sec-Fetch-Site": "same-origin"},  # a proxy in front that rewrites Host
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_programs_and_our_own_page_may(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/series", headers=headers, **FORM).status_code == 201  # type: ignore[arg-type]


def test_a_named_origin_may(settings: ApiSettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"cors_origins": [ELSEWHERE]}))) as client:
        headers = {"Origin": ELSEWHERE, "Sec-Fetch-Site": "cross-site"}
        answer = client.post("/v1/series", headers=headers, **FORM)  # type: ignore[arg-type]
        assert answer.status_code == 201
        assert answer.headers["access-control-allow-origin"] == ELSEWHERE
        assert "Attractor-Decimation" in answer.headers["access-control-expose-headers"]


def test_a_foreign_domain_that_points_here_sees_nothing(settings: ApiSettings) -> None:
    def status(client: TestClient, host: str) -> int:
        return client.get("/v1/series", headers={"Host": host}).status_code

    with TestClient(create_app(settings)) as client:
        for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:8000", "api:8000", "192.168.0.7"):
            assert status(client, host) == 200, host
        for host in ("elsewhere.example", "elsewhere.example:8000", "127.0.0.1.elsewhere.example", "a.b:port", "[::1"):
            assert status(client, host) == 403, host
    with TestClient(create_app(settings.model_copy(update={"allowed_hosts": ["lab.example"]}))) as client:
        assert status(client, "Lab.Example:443") == 200
        assert status(client, "elsewhere.example") == 403
