"""The OpenAPI document and the capabilities: complete, true, checked in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from api import openapi
from api.app import create_app
from domain.errors import DomainError
from domain.jobs import JobKind
from domain.specs import SPECS
from domain.training_specs import ArchitectureName

ROOT = Path(__file__).parents[2]
METHODS_WITH_BODY = ("post", "put", "patch")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(create_app())


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, o) for path, item in document["paths"].items() for method, o in item.items()]


def test_the_checked_in_document_is_the_one_of_the_code() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.text(create_app()), "run `python -m api.openapi`"


def test_the_command_tells_a_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "FILE", tmp_path / "openapi.json")
    monkeypatch.setattr(sys, "argv", ["openapi", "--check"])
    with pytest.raises(SystemExit, match="differs from the code"):
        openapi.main()
    monkeypatch.setattr(sys, "argv", ["openapi"])
    openapi.main()
    monkeypatch.setattr(sys, "argv", ["openapi", "--check"])
    openapi.main()


def test_every_operation_is_named_and_described(document: dict[str, Any]) -> None:
    ids = [o["operationId"] for _, _, o in operations(document)]
    assert len(ids) == len(set(ids))
    for path, _, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        assert operation["tags"], path
        for parameter in operation.get("parameters", ()):
            assert parameter.get("description"), f"{path}: {parameter['name']}"


def test_every_error_is_a_problem_document(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        for status, response in operation["responses"].items():
            if status.startswith("4"):
                assert list(response["content"]) == ["application/problem+json"], f"{method} {path} {status}"
        if "{id}" in path:
            assert "404" in operation["responses"], path
        if "requestBody" in operation:
            assert {"413", "415", "422"} <= set(operation["responses"]), path


def test_every_body_has_examples_that_fit_its_schema(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            if "application/json" in operation["requestBody"]["content"]:
                assert content.get("examples") or content.get("example") or "binary" in json.dumps(content), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for part in json.dumps(document).split('"#/components/schemas/')[1:]:
        assert part.split('"')[0] in schemas
    assert "HTTPValidationError" not in schemas


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_capabilities_name_kinds_limits_and_problems(client: TestClient) -> None:
    found = client.get("/v1/capabilities").json()
    assert {k["kind"] for k in found["kinds"]} == set(JobKind)
    for kind in found["kinds"]:
        assert set(kind["params_schema"]["properties"]) == set(SPECS[kind["kind"]].model_fields)
    described = {a["name"]: a for a in found["architectures"]}
    assert len(described) == 12
    assert set(described) == set(get_args(ArchitectureName))
    assert described["dend-plrnn"]["hidden_role"] == "dendritic bases"
    assert [name for name, a in described.items() if a["layered"]] == ["deep-plrnn"]
    squashed = {name for name, a in described.items() if "identity" not in a["observations"]}
    assert squashed == {"vanilla-rnn", "lstm", "gru"}
    assert all({"affine", "convolutional"} <= set(a["observations"]) for a in described.values())
    assert {name for name, a in described.items() if not a["has_jacobian_bound"]} == {"lstm", "gru"}
    assert [f["kind"] for f in found["forcings"]] == ["gtf", "stf", "none"]
    assert found["optimizers"] == ["radam", "adam", "adamw"]
    assert found["limits"]["max_json_bytes"] == 200_000
    assert (found["limits"]["max_upload_values"], found["limits"]["min_analysis_steps"]) == (250_000_000, 200)
    assert set(found["formats"]["upload"]) == {"csv", "npy", "parquet", "json"}
    assert found["formats"]["table"] == ["json", "csv", "npy", "parquet"]
    for problem in found["problems"]:
        assert client.get(problem["type"]).json() == problem
    codes = [problem["code"] for problem in found["problems"]]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_every_error_class_is_a_problem_with_a_name_of_its_own(client: TestClient) -> None:
    def below(cls: type[DomainError]) -> list[type[DomainError]]:
        return [cls, *(c for sub in cls.__subclasses__() for c in below(sub))]

    names = {p["code"] for p in client.get("/v1/capabilities").json()["problems"]}
    assert {cls.code for cls in below(DomainError) if not cls.__module__.startswith("test")} <= names


def test_the_api_imports_no_torch_and_no_numba() -> None:
    code = "import sys, api.app; api.app.create_app(); print(sorted({'torch', 'numba', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
