"""The requests of the demo, as any other program would make them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from cli.demo.service import DemoFailed
from domain.jobs import TERMINAL

FORECAST_LYAPUNOV_TIMES = 4.0
FORECAST_STEPS = 500


class Client:
    """Speaks with one service; every refusal becomes a `DemoFailed` with the service's own words."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(60.0, read=120.0), trust_env=False)

    def upload(self, path: Path, fields: dict[str, str]) -> dict[str, Any]:
        with path.open("rb") as file:
            return self._json("POST", "/v1/series", data=fields, files={"file": (path.name, file)})

    def submit(self, series_id: str, train: dict[str, Any]) -> dict[str, Any]:
        request = {"kind": "reconstruct", "series_id": series_id, "params": {"train": train}}
        return self._json("POST", "/v1/jobs", json=request)

    def evaluate(self, model_id: str, series_id: str) -> dict[str, Any]:
        return self._json("POST", "/v1/jobs", json={"kind": "evaluate", "model_id": model_id, "series_id": series_id})

    def get(self, path: str) -> dict[str, Any]:
        return self._json("GET", path)

    def forecast(self, model_id: str, start_index: int, chaotic: bool) -> dict[str, Any]:
        horizon = {"horizon_lyapunov_times": FORECAST_LYAPUNOV_TIMES} if chaotic else {"horizon_steps": FORECAST_STEPS}
        return self._json("POST", f"/v1/models/{model_id}/forecasts", json={"start_index": start_index, **horizon})

    def events(self, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The job's events as they happen, to the one that ends it; a lost connection is taken up where it broke."""
        last, failures = "0", 0
        while True:
            try:
                for event in self._stream(job["links"]["events"], last):
                    last, failures = str(event["seq"]), 0
                    yield event
                    if event["data"].get("status") in TERMINAL:
                        return
            except httpx.TransportError as error:
                failures += 1
                if failures > 5:
                    raise DemoFailed(f"The connection to the service was lost: {error}") from error

    def _stream(self, path: str, after: str) -> Iterator[dict[str, Any]]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        with self._http.stream("GET", path, headers=headers) as response:
            if response.is_error:
                response.read()
                raise DemoFailed(refusal(response))
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line.removeprefix("data:"))

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **request)
        except httpx.TransportError as error:
            raise DemoFailed(f"{method} {path}: the service does not answer ({error}).") from error
        if response.is_error:
            raise DemoFailed(refusal(response))
        return response.json()


def refusal(response: httpx.Response) -> str:
    """A problem document in plain text."""
    try:
        problem = response.json()
    except ValueError:
        return f"The service answered {response.status_code}: {response.text[:500]}"
    lines = [f"{problem.get('title')}: {problem.get('detail')}"]
    for item in problem.get("errors", []):
        rows = f" (rows {', '.join(map(str, item['rows']))})" if item.get("rows") else ""
        lines.append(f"  {item.get('pointer') or '-'}: {item.get('detail') or ''}{rows}")
    return "\n".join(lines)
