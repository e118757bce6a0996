"""The whole API against its own OpenAPI document: generated requests, good and bad, meet no 5xx and no undeclared answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python import asgi
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from stock import make_stock

from api import openapi
from api.app import create_app
from api.settings import ApiSettings
from domain.keys import Caller, Principal, Scope
from store import keys, migrate
from store.blobs import Blobs
from store.database import Database
from store.secrets import service_secret

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 40
DOCUMENT = openapi.document(create_app())
# Invented keys come no further than to a 401 (see `test_access`): every request here has a good one.
del DOCUMENT["components"]["securitySchemes"]
for operation in (o for item in DOCUMENT["paths"].values() for o in item.values()):
    operation.pop("security", None)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {f"{o.method.upper()} {o.path}": o for o in (result.ok() for result in SCHEMA.get_all_operations())}
# Where nothing but a text in the path can be given, nothing can be of a wrong form.
CASES = [
    (name, mode)
    for name, o in OPERATIONS.items()
    for mode in GenerationMode
    if mode.is_positive or len(o.query) or len(o.headers) or len(o.body)
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, str]]]:
    """A session on the application, and ids of things that exist."""
    config = ApiSettings(data_dir=tmp_path_factory.mktemp("fuzz"), max_sync_work=20_000, require_keys="yes")
    database = Database(config)
    migrate.upgrade(database)
    stock = make_stock(config, database, Blobs(config.blobs_dir))
    caller = Caller(Principal())
    with database.write() as session:
        key, other = (
            keys.create(session, service_secret(config), caller, tenant="default", name=name, scopes=list(Scope))
            for name in ("fuzz", "other")
        )
    with asgi.get_client(create_app(config)) as session:
        session.headers["Authorization"] = f"Bearer {key.text}"
        job = session.post("http://testserver/v1/jobs", json={"kind": "lyapunov", "series_id": stock.series_id}).json()
        stock.finish(job["id"], stock.analysis_row())
        url = f"http://testserver/v1/models/{stock.model_id}/forecasts"
        forecast = session.post(url, json={"horizon_steps": 5}).json()
        hook = session.post("http://testserver/v1/webhooks", json={"url": "https://example.org/hook"}).json()
        told = session.post(f"http://testserver/v1/webhooks/{hook['id']}/test").json()
        yield (
            session,
            {
                "series": stock.series_id,
                "jobs": job["id"],
                "analyses": stock.analysis_id,
                "models": stock.model_id,
                "evaluations": stock.evaluation_id,
                "forecasts": forecast["id"],
                "webhooks": hook["id"],
                "deliveries": told["id"],
                "keys": other.row.id,
            },
        )
    database.close()


def make_real(case: Any, ids: dict[str, str]) -> None:
    """Name things that exist, so that requests come further than to a 404."""
    if "id" in case.path_parameters and case.operation.method != "delete":
        case.path_parameters["id"] = ids[case.operation.path.split("/")[2]]
    if "delivery_id" in case.path_parameters:
        case.path_parameters["delivery_id"] = ids["deliveries"]
    if isinstance(case.body, dict):
        for field, resource in (("series_id", "series"), ("model_id", "models"), ("analysis_id", "analyses")):
            if field in case.body:
                case.body[field] = ids[resource]
        case.body.pop("channels", None)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_answers_are_the_declared_ones(world: tuple[Any, dict[str, str]], name: str, mode: GenerationMode) -> None:
    session, ids = world
    operation = OPERATIONS[name]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def check(case: Any, real: bool) -> None:
        if real:
            make_real(case, ids)
        if "wait" in case.headers.get("Prefer", ""):
            case.headers["Prefer"] = "wait=0"  # no worker ends these jobs
        response = case.call(base_url="http://testserver", session=session)
        assert response.status_code != 401
        case.validate_response(response, checks=CHECKS)

    check()
