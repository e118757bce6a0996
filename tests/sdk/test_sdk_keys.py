"""The client and a service that wants keys: who it is, what it may do, how often."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import attractor_client as sdk
from api.auth import counters
from api.settings import ApiSettings
from attractor_client import Client
from domain.keys import WORK, Caller, Principal, Scope
from store import keys
from store.database import Database
from store.secrets import service_secret

Connect = Callable[..., Client]
ROWS = np.random.default_rng(0).normal(size=(300, 1))


@pytest.fixture
def key(settings: ApiSettings, database: Database) -> Callable[..., str]:
    def key(*scopes: Scope, tenant: str = "acme") -> str:
        operator = Caller(Principal(tenant))
        with database.write() as session:
            made = keys.create(
                session, service_secret(settings), operator, tenant=tenant, name="test", scopes=scopes or WORK
            )
        return made.text

    return key


def test_without_a_key_nothing_is_answered_and_the_error_says_what_to_do(connect: Connect) -> None:
    with pytest.raises(sdk.AuthenticationFailed, match="key") as caught:
        list(connect(require_keys="yes").series())
    assert (caught.value.status, caught.value.request_id is not None) == (401, True)
    with pytest.raises(sdk.AuthenticationFailed):
        list(connect("atr_nobody", require_keys="yes").series())


def test_a_key_shows_the_work_of_its_own_tenant(connect: Connect, key: Callable[..., str]) -> None:
    ours, theirs = connect(key(), require_keys="yes"), connect(key(tenant="other"), require_keys="yes")
    series = ours.upload(ROWS)
    job = ours.analyze(series)
    assert [j.id for j in ours.jobs()] == [job.id]
    assert list(theirs.jobs()) == []
    with pytest.raises(sdk.NotFound):
        theirs.job(job.id)


def test_a_scope_that_is_missing_is_told(connect: Connect, key: Callable[..., str]) -> None:
    reader = connect(key(Scope.SERIES_READ), require_keys="yes")
    assert list(reader.series()) == []
    with pytest.raises(sdk.PermissionDenied, match="series:write"):
        reader.upload(ROWS)


def test_a_limit_is_waited_for_as_the_service_says(
    connect: Connect, key: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000_000_010.0]
    monkeypatch.setattr(counters.time, "time", lambda: now[0])
    client, pauses = connect(key(), max_retries=2, requests_per_minute=2), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    client._driver._sleep = sleep
    for _ in range(3):
        assert list(client.series()) == []
    assert pauses == [10.0]
    impatient = connect(key(), requests_per_minute=1)
    assert list(impatient.series()) == []
    with pytest.raises(sdk.RateLimited) as caught:
        list(impatient.series())
    assert caught.value.retry_after is not None


def test_a_full_queue_is_told(connect: Connect, key: Callable[..., str]) -> None:
    client = connect(key(), max_queued_jobs=1)
    series = client.upload(ROWS)
    client.analyze(series)
    with pytest.raises(sdk.RateLimited) as caught:
        client.analyze(series, seed=1)
    assert caught.value.code == "quota_exceeded"
