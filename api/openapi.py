"""The OpenAPI document: built from the code, checked in, compared by a test. `python -m api.openapi [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth.rules import declared
from api.errors import Problem, problem_responses

FILE = Path(__file__).parents[1] / "docs" / "openapi.json"
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": (
        "A key such as `atr_...`, made by `attractor keys create`. A service that listens on loopback and knows no keys "
        "demands none. Beside each operation stands the scope that its key needs."
    ),
}
_FRAMEWORK_SCHEMAS = ("HTTPValidationError", "ValidationError")


def document(app: FastAPI) -> dict[str, Any]:
    """The framework's document with our problem documents in place of its own validation errors."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas = found["components"]["schemas"]
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs") | {"Problem": problem}
    found["components"]["securitySchemes"] = {"bearer": _BEARER}
    for path, method, operation in ((p, m, o) for p, item in found["paths"].items() for m, o in item.items()):
        responses = operation["responses"]
        rule = declared(method.upper(), path)
        if rule.key:
            operation["security"] = [{"bearer": [rule.scope] if rule.scope else []}]
        # 403: see `api.origins` as well. 401 and 429 come before the request is looked at.
        refusals = [*((401, 403, 429) if rule.key else ()), *((403,) if method != "get" else ())]
        responses |= {str(status): response for status, response in problem_responses(*refusals).items()}
        # Added by the framework wherever there is a parameter, also where every text is a good one.
        if "HTTPValidationError" in json.dumps(responses.get("422", {})):
            del responses["422"]
    return found


def text(app: FastAPI) -> str:
    return json.dumps(document(app), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    from api.app import create_app

    wanted = text(create_app())
    if "--check" not in sys.argv:
        FILE.write_text(wanted, encoding="utf-8")
    elif not FILE.exists() or FILE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"docs/{FILE.name} differs from the code: run `python -m api.openapi` and commit it")


if __name__ == "__main__":
    main()
