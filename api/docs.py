"""A reference page made from the OpenAPI document alone: no script, nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9em; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid #8886; border-radius: 6px; white-space: pre-wrap; }
summary { cursor: pointer; padding: 0.3rem 0; }
summary b { display: inline-block; min-width: 4.5rem; }
details > div { padding-left: 1.25rem; }
td, th { text-align: left; vertical-align: top; padding: 0.15rem 1rem 0.15rem 0; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'"
}


@router.get("/docs")
def get_docs(request: Request) -> HTMLResponse:
    document = request.app.openapi()
    groups: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation.get("tags", ["other"])[0], []).append(_operation(method, path, operation))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(entries)}" for tag, entries in groups.items())
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary><div>{_json(schema)}</div></details>'
        for name, schema in document["components"]["schemas"].items()
    )
    title = escape(f"{document['info']['title']} {document['info']['version']}")
    intro = "".join(f"<p>{escape(p)}</p>" for p in document["info"]["description"].strip().split("\n\n"))
    return HTMLResponse(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}: reference</title><style>{_STYLE}</style><h1>{title}</h1>{intro}"
        f'<p>The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>{body}<h2>Schemas</h2>{schemas}</html>',
        headers=_HEADERS,
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    if parameters := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}</td>"
            f"<td>{escape(p.get('description', ''))}</td></tr>"
            for p in parameters
        )
        parts.append(f"<table>{rows}</table>")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body, <code>{escape(media_type)}</code>: {_schema_link(content.get('schema', {}))}</p>")
        examples = content.get("examples", {}).values()
        parts.extend(f"<p>{escape(e.get('summary', ''))}</p>{_json(e['value'])}" for e in examples)
    for status, response in operation["responses"].items():
        schemas = ", ".join(_schema_link(c.get("schema", {})) for c in response.get("content", {}).values())
        parts.append(f"<p><b>{escape(status)}</b> {escape(response.get('description', ''))} {schemas}</p>")
    head = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}"
    return f"<details><summary>{head}</summary><div>{''.join(parts)}</div></details>"


def _schema_link(schema: dict[str, Any]) -> str:
    names = [
        str(s["$ref"]).rsplit("/", 1)[-1]
        for s in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ()))
        if "$ref" in s
    ]
    return " or ".join(f'<a href="#{escape(n)}"><code>{escape(n)}</code></a>' for n in names)


def _json(value: object) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"
