"""The whole API with everything that Schemathesis has: examples, every parameter at its edges, walks on which requests use the
ids of earlier answers, and all of its checks. Meanwhile others submit, run and end jobs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.engine.run import PhaseName
from sqlalchemy.orm import Session
from stock import Stock, make_stock

from api.app import create_app
from api.settings import ApiSettings
from domain.errors import DomainError
from domain.jobs import ErrorCode, JobError
from domain.keys import Caller, Principal, Scope
from domain.specs import LyapunovJob
from dynamics.samples import SAMPLES
from figures import drawing
from figures.parts import Figure
from store import jobs, keys, leases, migrate
from store.blobs import Blobs
from store.database import Database
from store.secrets import service_secret

# What is well-formed need not be possible: a resource may be gone, in use, in another state, or not fit the series.
POSSIBLE = ["2xx", "304", "400", "404", "409", "413", "415", "422", "429"]
ERROR = JobError(code=ErrorCode.TIMEOUT, detail="Not done after 60 s.", retryable=True)


class Others:
    """Another program that asks for work, and a worker: between two requests the newest job is in another state."""

    def __init__(self, stock: Stock, key_id: str) -> None:
        self.stock, self.key_id = stock, key_id
        self.steps = itertools.cycle(
            [self.submit, self.fail, self.submit, self.pause, self.submit, self.run, self.finish]
        )
        self.job_id = ""

    def go_on(self) -> None:
        with self.stock.database.write() as session:
            next(self.steps)(session)

    def submit(self, session: Session) -> None:
        request = LyapunovJob(kind="lyapunov", series_id=self.stock.series_id)
        self.job_id = jobs.submit(session, self.stock.settings, request).job.id

    def pause(self, session: Session) -> None:
        with suppress(DomainError):
            jobs.pause(session, self.job_id)

    def run(self, session: Session) -> leases.Lease | None:
        claimed = leases.claim(session, self.job_id, worker="w", lease_seconds=3600)
        self.lease = None if claimed is None else claimed[1]
        return self.lease

    def fail(self, session: Session) -> None:
        if (lease := self.run(session)) is not None:
            leases.fail(session, lease, ERROR)

    def finish(self, session: Session) -> None:
        if self.lease is None:
            return
        pulse = leases.heartbeat(session, self.lease)
        if pulse.cancel or pulse.pause:
            leases.acknowledge_pause(session, self.lease)
        else:
            leases.finish(session, self.lease, self.stock.analysis_row())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, Others, str]]:
    """The application, the others who use it, and a key."""
    config = ApiSettings(
        data_dir=tmp_path_factory.mktemp("walk"),
        max_sync_work=20_000,
        require_keys="yes",
        failed_keys_per_minute=1_000_000,
    )
    database = Database(config)
    migrate.upgrade(database)
    stock = make_stock(config, database, Blobs(config.blobs_dir))
    me = Caller(Principal())
    with database.write() as session:
        made = keys.create(session, service_secret(config), me, tenant="default", name="all", scopes=list(Scope))
    app = create_app(config)
    with TestClient(app):
        yield app, Others(stock, made.row.id), made.text
    database.close()


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dozens of requests ask for pictures of the same few results. What is drawn depends on the arguments alone, so each is
    drawn once, which was a third of the time that this test takes."""
    draw = drawing.draw
    kept: dict[tuple[Any, ...], bytes] = {}

    def remembered(figure: Figure, *arguments: Any, **named: Any) -> bytes:
        key = (json.dumps(asdict(figure), default=lambda array: array.tolist()), arguments, *sorted(named.items()))
        if key not in kept:
            kept[key] = draw(figure, *arguments, **named)
        return kept[key]

    monkeypatch.setattr(drawing, "draw", remembered)


@pytest.fixture
def short_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names no number of steps is content with a few here."""
    for name, sample in SAMPLES.items():
        monkeypatch.setitem(SAMPLES, name, replace(sample, steps=200))


def each_specification_once(context: Any, document: dict[str, Any]) -> None:
    """A hook of Schemathesis, which tries the edges of every field wherever a specification is used. Those inside of a
    reconstruction are an analysis', a training's and an evaluation's, those of a job that forecasts are the ones of
    `POST /v1/models/{id}/forecasts`: the same classes, a third of all requests. They are tried in one place, and here
    only with nothing set, and with what does not belong there."""
    schemas = document["components"]["schemas"]
    nothing = {"type": "object", "additionalProperties": False}
    for part in schemas["ReconstructSpec"]["properties"]:
        schemas["ReconstructSpec"]["properties"][part] = nothing
    schemas["ForecastJob"]["properties"]["params"] = nothing


def settings_of(key: str) -> SchemathesisConfig:
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "request-timeout": 120,
            "auth": {"openapi": {"bearer": {"bearer": key}}},
            "generation": {"max-examples": 2, "database": "none"},
            "phases": {
                "coverage": {"unexpected-methods": ["PUT", "TRACE"]},
                "fuzzing": {"enabled": False},  # test_fuzz.py does more of it, on resources that exist
                "stateful": {"generation": {"max-examples": 8}, "max-steps": 8},
            },
            "checks": {"positive_data_acceptance": {"expected-statuses": POSSIBLE}},
            # A key that was revoked stays on record, and says so.
            "operations": [{"include-path": "/v1/keys/{id}", "checks": {"use_after_free": {"enabled": False}}}],
        }
    )


@pytest.mark.usefixtures("drawn_once", "short_samples")
def test_the_whole_api_with_all_checks(world: tuple[FastAPI, Others, str], request: pytest.FixtureRequest) -> None:
    app, others, key = world
    schemathesis.hook("before_load_schema")(each_specification_once)
    request.addfinalizer(lambda: schemathesis.hooks.unregister(each_specification_once))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, config=settings_of(key))

    calls = itertools.count()

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        if next(calls) % 4 == 0:
            others.go_on()
        if case.path_parameters.get("id") == others.key_id:
            case.path_parameters["id"] = "key_" + "0" * 32  # a walk that takes its own key away leads nowhere
        if "wait" in case.headers.get("Prefer", ""):
            case.headers["Prefer"] = "wait=0"  # nobody is that quick here
        if str(case.query.get("wait", "")).isdigit():
            case.query["wait"] = min(int(case.query["wait"]), 1)

    schemathesis.hook(before_call)
    request.addfinalizer(lambda: schemathesis.hooks.unregister(before_call))

    wrong: list[str] = []
    phases: dict[PhaseName, Status] = {}
    answered: set[tuple[str, int]] = set()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            wrong.append(f"{getattr(event, 'label', '')}: {getattr(event, 'value', event)!r}")
        if isinstance(event, events.PhaseFinished):
            phases[event.phase.name] = event.status
        if isinstance(event, events.ScenarioFinished):
            wrong += failures(event.recorder)
            answered |= answers(event.recorder)
    assert wrong == []
    assert {phases[name] for name in (PhaseName.EXAMPLES, PhaseName.COVERAGE, PhaseName.STATEFUL_TESTING)} == {
        Status.SUCCESS
    }
    # The walks come as far as jobs whose state allows something.
    controls = {(label, status) for label, status in answered if label.startswith("POST /v1/jobs/{id}/")}
    assert 202 in {status for _, status in controls}, sorted(controls)


def failures(recorder: Any) -> list[str]:
    found = [check.failure_info for checks in recorder.checks.values() for check in checks]
    return [f"{one.failure}\n{one.code_sample}" for one in found if one is not None]


def answers(recorder: Any) -> set[tuple[str, int]]:
    return {
        (recorder.cases[id].value.operation.label, one.response.status_code)
        for id, one in recorder.interactions.items()
        if one.response is not None and id in recorder.cases
    }
