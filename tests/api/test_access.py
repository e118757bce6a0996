"""Who is let in: keys, scopes, exposure, brute force, limits, and where a key must never appear."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, text

from api.app import create_app
from api.auth import counters
from api.auth.gate import is_exposed
from api.auth.rules import RESOURCES, declared, rule_for
from api.settings import ApiSettings
from domain.keys import WORK, Caller, Principal, Scope, new_key
from store import keys, tenants
from store.database import Database
from store.secrets import service_secret
from store.settings import StoreSettings
from store.tables import AuditRow, Base, KeyRow

OPERATOR = Caller(Principal("acme"))
Connect = Callable[..., TestClient]


@pytest.fixture
def make(settings: ApiSettings, database: Database) -> Callable[..., keys.Made]:
    def make(*scopes: Scope, tenant: str = "acme", **options: Any) -> keys.Made:
        with database.write() as session:
            secret = service_secret(settings)
            return keys.create(session, secret, OPERATOR, tenant=tenant, name="test", scopes=scopes or WORK, **options)

    return make


@pytest.fixture
def connect(settings: ApiSettings) -> Iterator[Connect]:
    """A client of a service with some settings, that sends a key."""
    with ExitStack() as stack:

        def connect(key: str | None = None, **changes: Any) -> TestClient:
            app = create_app(ApiSettings(**{**settings.model_dump(), "key_cache_seconds": 0.0} | changes))
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return stack.enter_context(TestClient(app, headers=headers))

        yield connect


def audited(database: Database, action: str) -> list[AuditRow]:
    """Notes are written beside the request: they take a moment."""
    for _ in range(100):
        with database.read() as session:
            rows = list(session.scalars(select(AuditRow).where(AuditRow.action == action)))
        if rows:
            return rows
        time.sleep(0.02)
    return []


def test_without_keys_loopback_is_open(connect: Connect) -> None:
    client = connect()
    assert client.get("/v1/series").status_code == 200
    me = client.get("/v1/me").json()
    assert (me["tenant"], me["key"], set(me["scopes"])) == ("default", None, set(Scope))


def test_the_first_key_closes_the_service_and_revoking_it_does_not_open_it(
    connect: Connect, make: Any, database: Database
) -> None:
    client = connect()
    assert client.get("/v1/series").status_code == 200
    made = make()
    answer = client.get("/v1/series")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="attractor"'
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "Authorization: Bearer" in answer.json()["detail"]
    with database.write() as session:
        keys.revoke(session, OPERATOR, made.row.id)
    assert client.get("/v1/series").status_code == 401


def test_exposed_services_demand_keys_and_say_how_to_make_one(connect: Connect) -> None:
    answer = connect(host="0.0.0.0").get("/v1/series")
    assert answer.status_code == 401
    assert "attractor keys create" in answer.json()["detail"]


@pytest.mark.parametrize(("mode", "status"), [("yes", 401), ("no", 200), ("auto", 200)])
def test_the_setting_decides_where_it_is_explicit(connect: Connect, mode: str, status: int) -> None:
    assert connect(require_keys=mode).get("/v1/series").status_code == status


def test_an_explicit_no_serves_other_addresses(connect: Connect, make: Any) -> None:
    make()
    assert connect(require_keys="no", host="0.0.0.0").get("/v1/series").status_code == 200


@pytest.mark.parametrize(
    ("host", "server", "exposed"),
    [
        ("127.0.0.1", ("127.0.0.1", 8000), False),
        ("localhost", ("::1", 8000), False),
        ("127.0.0.1", ("testserver", 80), False),
        ("127.0.0.1", ("/run/attractor.sock", None), False),
        ("127.0.0.1", None, False),
        ("127.0.0.1", ("172.18.0.3", 8000), True),  # a container's address: the server was told, the settings were not
        ("127.0.0.1", ("fe80::1%eth0", 8000), True),
        ("0.0.0.0", ("127.0.0.1", 8000), True),
        ("::", ("::1", 8000), True),
        ("example.org", ("127.0.0.1", 8000), True),
    ],
)
def test_exposure_is_told_by_the_settings_and_by_the_connection(host: str, server: Any, exposed: bool) -> None:
    assert is_exposed(host, {"server": server}) == exposed


@pytest.mark.parametrize(
    ("client", "exposed"),
    [
        (("127.0.0.1", 5), False),
        (("::1", 5), False),
        (("203.0.113.9", 0), True),
        (("2001:db8::1", 0), True),
        (None, False),
    ],
)
def test_exposure_is_told_by_a_proxy_on_this_machine(client: Any, exposed: bool) -> None:
    assert is_exposed("127.0.0.1", {"server": ("127.0.0.1", 8000), "client": client}) == exposed


def test_documentation_and_health_stay_open(connect: Connect) -> None:
    client = connect(require_keys="yes")
    for path in (
        "/livez",
        "/readyz",
        "/docs",
        "/openapi.json",
        "/",
        "/app.js",
        "/v1/capabilities",
        "/v1/problems/not-found",
    ):
        assert client.get(path).status_code == 200, path


def test_readiness_shows_strangers_no_details(connect: Connect, make: Any) -> None:
    made = make()

    def details(client: TestClient) -> str:
        return client.get("/readyz").json()["checks"]["database"]["detail"]

    assert details(connect()) == "answers"
    assert "key" in details(connect(host="0.0.0.0"))
    assert "key" in details(connect(new_key(), host="0.0.0.0"))
    assert details(connect(made.text, host="0.0.0.0")) == "answers"
    unreachable = connect(new_key(), host="0.0.0.0", database_url="postgresql://127.0.0.1:1/nothing")
    answer = unreachable.get("/readyz")
    assert (answer.status_code, "127.0.0.1" in answer.text) == (503, False)


def test_a_key_opens_its_tenant_only(connect: Connect, make: Any) -> None:
    acme, other = make(), make(tenant="other")
    client = connect(acme.text)
    made = client.post("/v1/series", content=b"x\n1\n2\n4\n", headers={"Content-Type": "text/csv"}).json()
    assert client.get(f"/v1/series/{made['id']}").status_code == 200
    assert client.get("/v1/me").json()["tenant"] == "acme"
    stranger = connect(other.text)
    assert stranger.get(f"/v1/series/{made['id']}").status_code == 404
    assert stranger.get("/v1/series").json()["data"] == []


@pytest.mark.parametrize("scope", list(Scope))
def test_a_scope_opens_what_it_names_and_nothing_else(connect: Connect, make: Any, scope: Scope) -> None:
    client = connect(make(scope).text)
    id = "0" * 32
    requests = [
        ("GET", "/v1/series", Scope.SERIES_READ),
        ("GET", f"/v1/series/ser_{id}/data", Scope.SERIES_READ),
        ("POST", "/v1/series", Scope.SERIES_WRITE),
        ("DELETE", f"/v1/series/ser_{id}", Scope.SERIES_WRITE),
        ("GET", "/v1/jobs", Scope.JOBS_READ),
        ("GET", f"/v1/jobs/job_{id}/events", Scope.JOBS_READ),
        ("GET", f"/v1/jobs/job_{id}/result", Scope.RESULTS_READ),
        ("POST", "/v1/jobs", Scope.JOBS_WRITE),
        ("POST", f"/v1/jobs/job_{id}/cancel", Scope.JOBS_WRITE),
        ("POST", f"/v1/models/mdl_{id}/forecasts", Scope.JOBS_WRITE),
        ("GET", f"/v1/models/mdl_{id}/artifacts/model.json", Scope.RESULTS_READ),
        ("GET", "/v1/analyses", Scope.RESULTS_READ),
        ("GET", "/v1/evaluations", Scope.RESULTS_READ),
        ("GET", "/v1/forecasts", Scope.RESULTS_READ),
        ("GET", "/v1/keys", Scope.ADMIN),
        ("GET", "/v1/audit-events", Scope.ADMIN),
    ]
    for method, path, needed in requests:
        answer = client.request(method, path)
        if needed == scope:
            assert answer.status_code not in (401, 403), path
            continue
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope"), path
        assert str(needed) in answer.json()["detail"]
        assert f'scope="{needed}"' in answer.headers["WWW-Authenticate"]
    assert client.get("/v1/me").json()["scopes"] == [scope]


def test_every_rule_is_that_of_the_operation_in_the_document(connect: Connect) -> None:
    document = connect().app.openapi()  # type: ignore[attr-defined]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            rule = declared(method.upper(), path)
            wanted = [{"bearer": [rule.scope] if rule.scope else []}] if rule.key else None
            assert operation.get("security") == wanted, path
            assert not rule.key or {"401", "403", "429"} <= set(operation["responses"]), path
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_a_resource_without_scopes_cannot_be_documented() -> None:
    with pytest.raises(LookupError, match=r"api/auth/rules\.py"):
        declared("GET", "/v1/novelties/{id}")
    assert rule_for("GET", "/v1/novelties/1").key
    assert all(rule_for(method, f"/v1/{name}").key for name in RESOURCES for method in ("GET", "PUT", "TRACE"))


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token abc", "Bearer abc", "Bearer atr_abc", "bearer\tx"]
)
def test_other_headers_are_refused(connect: Connect, make: Any, header: str) -> None:
    make()
    answer = connect().get("/v1/series", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="attractor"')


def test_the_scheme_may_be_written_in_any_case_and_one_key_only(connect: Connect, make: Any) -> None:
    made = make()
    client = connect()
    assert client.get("/v1/me", headers={"Authorization": f"bEARER  {made.text} "}).status_code == 200
    twice = [("Authorization", f"Bearer {made.text}")] * 2
    assert client.get("/v1/me", headers=twice).status_code == 401


def test_a_mistyped_key_is_told_from_an_unknown_one(connect: Connect, make: Any) -> None:
    made = make()
    client = connect()

    def said(key: str) -> tuple[str, str]:
        answer = client.get("/v1/me", headers={"Authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_key")
        return answer.json()["detail"], answer.headers["WWW-Authenticate"]

    assert "checksum" in said(made.text[:-1] + ("a" if made.text[-1] != "a" else "b"))[0]
    assert "unknown" in said(new_key())[0]
    assert 'error="invalid_token"' in said(new_key())[1]


def test_revocation_takes_effect_when_the_memory_ends(connect: Connect, make: Any, database: Database) -> None:
    made = make()
    remembering, forgetful = connect(made.text, key_cache_seconds=60.0), connect(made.text, key_cache_seconds=0.3)
    assert (remembering.get("/v1/me").status_code, forgetful.get("/v1/me").status_code) == (200, 200)
    with database.write() as session:
        keys.revoke(session, OPERATOR, made.row.id)
    assert remembering.get("/v1/series").status_code == 200
    time.sleep(0.35)
    answer = forgetful.get("/v1/series")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_key")
    assert "revoked" in answer.json()["detail"]
    (event,) = audited(database, "key.refused")
    assert (event.tenant, event.key_id, event.detail["why"]) == ("acme", made.row.id, "revoked")


def test_guessing_is_stopped_and_does_not_lock_out_who_has_a_key(
    connect: Connect, make: Any, database: Database
) -> None:
    made = make()
    client = connect(failed_keys_per_minute=5)
    good = {"Authorization": f"Bearer {made.text}"}
    assert client.get("/v1/me", headers=good).status_code == 200
    answers = [client.get("/v1/me", headers={"Authorization": f"Bearer {new_key()}"}) for _ in range(12)]
    # A minute may end meanwhile, and the count with it.
    assert [a.status_code for a in answers[:5]] == [401] * 5
    stopped = [a for a in answers[5:] if a.status_code == 429]
    assert stopped
    assert all(0 < int(a.headers["Retry-After"]) <= 60 and a.json()["code"] == "rate_limited" for a in stopped)
    assert client.get("/v1/me", headers=good).status_code == 200
    assert (
        len(audited(database, "key.refused")) <= 4
    )  # the first, and the one that met the limit; twice if a minute ended


def test_the_key_is_in_no_answer_no_log_and_no_table(
    connect: Connect, make: Any, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    made = make(Scope.ADMIN)
    unknown = new_key()
    client = connect(made.text)
    with caplog.at_level(logging.DEBUG):
        answers = [
            client.get("/v1/me"),
            client.get("/v1/keys"),
            client.get("/v1/series"),
            client.get("/v1/series", headers={"Authorization": f"Bearer {unknown}"}),
            client.get("/v1/series", headers={"Authorization": f"Bearer {made.text[:-1]}"}),
            client.get("/v1/series", headers={"Authorization": f"Basic {made.text}"}),
            client.get(f"/v1/series?key={made.text}"),
            client.get(f"/v1/series/{made.text}"),
        ]
    audited(database, "key.refused")
    client.close()
    secrets = [made.text[12:], unknown[12:]]
    ours = [
        record for record in caplog.records if not record.name.startswith("http")
    ]  # the test's own client logs, too
    assert ours
    said = "".join(a.text + repr(a.headers) for a in answers) + repr([vars(record) for record in ours])
    for table in Base.metadata.tables:
        with database.read() as session:
            said += repr(session.execute(text(f"SELECT * FROM {table}")).all())
    assert not [secret for secret in secrets if secret in said]
    for answer in answers[6:]:
        assert answer.status_code == 400
        assert "revoke" in answer.json()["detail"]


def test_limits_are_told_and_kept(connect: Connect, make: Any, database: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(counters.time, "time", lambda: 1_000_000_010.0)  # 50 s into a minute
    made = make()
    client = connect(made.text, requests_per_minute=3)
    answers = [client.get("/v1/series") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert {a.headers["RateLimit-Policy"] for a in answers} == {'"tenant";q=3;w=60'}
    assert [a.headers["RateLimit"] for a in answers[:4]] == [f'"tenant";r={r};t=10' for r in (2, 1, 0, 0)]
    assert answers[4].headers["Retry-After"] == "10"
    assert answers[4].json()["code"] == "rate_limited"
    assert client.get("/livez").status_code == 200
    other = make(tenant="other")
    assert client.get("/v1/series", headers={"Authorization": f"Bearer {other.text}"}).status_code == 200
    (event,) = audited(database, "quota.refused")
    assert (event.tenant, event.key_id, event.detail) == ("acme", made.row.id, {"quota": "requests_per_minute"})
    with database.write() as session:
        tenants.set_limits(session, OPERATOR, "acme", {"requests_per_minute": 0})
    answer = client.get("/v1/series")
    assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)


def test_a_disabled_tenant_is_refused(connect: Connect, make: Any, database: Database) -> None:
    client = connect(make().text)
    with database.write() as session:
        tenants.disable(session, OPERATOR, "acme")
    answer = client.get("/v1/series")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_disabled")
    with database.write() as session:
        tenants.disable(session, OPERATOR, "acme", disabled=False)
    assert client.get("/v1/series").status_code == 200


def test_bodies_of_strangers_are_not_read(connect: Connect) -> None:
    """A request without a key is answered before its body: what is no JSON is not even looked at."""
    answer = connect(require_keys="yes").post("/v1/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


def test_last_use_is_noted(connect: Connect, make: Any, database: Database) -> None:
    made = make()
    client = connect(made.text)
    client.get("/v1/me")

    def used() -> object:
        with database.read() as session:
            return session.scalars(select(KeyRow.last_used_at).where(KeyRow.id == made.row.id)).one()

    for _ in range(100):
        if used() is not None:
            break
        time.sleep(0.02)
    assert used() is not None


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_damaged_secret_is_our_fault_and_said_in_the_log(
    connect: Connect, settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.data_dir / "secret").write_text("damaged")
    answer = connect(new_key()).get("/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "Restore it from a backup" in caplog.text


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_without_a_database_nobody_is_let_in(connect: Connect, settings: ApiSettings) -> None:
    client = connect(new_key(), database_url="postgresql://127.0.0.1:1/nothing")
    answer = client.get("/v1/me")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert client.get("/livez").status_code == 200


@pytest.mark.redis
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_processes_on_redis_count_together(connect: Connect, make: Any, redis_url: str) -> None:
    made = make(tenant="shared")
    first, second = (connect(made.text, requests_per_minute=1000, broker_url=redis_url) for _ in range(2))
    for client in (first, second, first, second):
        answer = client.get("/v1/series")
        assert answer.status_code == 200
    assert answer.headers["RateLimit"].startswith('"tenant";r=99')
    assert int(answer.headers["RateLimit"].split(";")[1][2:]) <= 997  # 996, or more where a minute ended


@pytest.mark.redis
@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_keys_guessed_at_several_processes_are_counted_together(connect: Connect, redis_url: str) -> None:
    first, second = (connect(failed_keys_per_minute=4, broker_url=redis_url) for _ in range(2))
    answers = [
        client.get("/v1/me", headers={"Authorization": f"Bearer {new_key()}"})
        for client in (first, second) * 8  # twice the limit of both, so that the end of a minute changes nothing
    ]
    codes = [answer.status_code for answer in answers]
    assert codes[:4] == [401] * 4
    assert codes.count(401) <= 8, "four a minute of all processes, not of each"
    assert 429 in codes[4:]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_while_redis_is_away_requests_go_on_and_are_counted_here(
    connect: Connect, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(make().text, requests_per_minute=1000, broker_url="redis://127.0.0.1:1/0")
    begun = time.monotonic()
    answers = [client.get("/v1/series") for _ in range(5)]
    assert time.monotonic() - begun < 3
    assert [a.status_code for a in answers] == [200] * 5
    assert int(answers[-1].headers["RateLimit"].split(";")[1][2:]) < 1000
    assert caplog.text.count("Redis is away") == 1


def test_defaults_are_those_of_the_store(store_settings: StoreSettings) -> None:
    assert ApiSettings(**store_settings.model_dump()).require_keys == "auto"
