"""What keys and limits cost a request: `python -m benchmarks.keys [--redis redis://127.0.0.1:6379/0]`.

First the gate alone, in microseconds of one call; then GET of a job over HTTP from a real server on loopback, the kinds
in turn, so that a busy machine is as busy for each. Medians; lower quartiles are what an idle machine would show.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from pathlib import Path

import httpx
import uvicorn

from api.app import create_app
from api.auth.gate import Gate
from api.auth.rules import rule_for
from api.settings import ApiSettings
from domain.ids import new_id
from domain.keys import WORK, Caller, Principal
from store import keys, migrate
from store.database import Database
from store.secrets import service_secret
from store.tables import JobRow

CALLS, REQUESTS = 3000, 400
NO_LIMIT, LIMIT = 0, 10**9


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", default="")
    redis = parser.parse_args().redis
    with tempfile.TemporaryDirectory() as folder:
        settings = ApiSettings(data_dir=Path(folder))
        database = Database(settings)
        migrate.upgrade(database)
        kinds = {
            "no keys (first release)": ("", settings),
            "key, no limit": ("key", settings),
            "key, limit in memory": ("key", settings.model_copy(update={"requests_per_minute": LIMIT})),
            "key, limit, looked up each time": (
                "key",
                settings.model_copy(update={"requests_per_minute": LIMIT, "key_cache_seconds": 0.0}),
            ),
        }
        if redis:
            limited = settings.model_copy(update={"requests_per_minute": LIMIT, "broker_url": redis})
            kinds["key, limit in Redis"] = ("key", limited)
        with database.write() as session:
            secret = service_secret(settings)
            key = keys.create(session, secret, Caller(Principal()), tenant="default", name="x", scopes=WORK).text
            job = JobRow(
                id=new_id("job"),
                kind="lyapunov",
                status="queued",
                max_attempts=3,
                timeout_s=60,
                request={},
                progress={},
            )
            session.add(job)
        kinds = {
            name: (key if needs else "", s.model_copy(update={"require_keys": "auto" if needs else "no"}))
            for name, (needs, s) in kinds.items()
        }
        for name, (sent, s) in kinds.items():
            print(f"gate    {name:34} {asyncio.run(gate_alone(s, database, sent)):7.1f} us")
        over_http(kinds, job.id)
        database.close()


async def gate_alone(settings: ApiSettings, database: Database, key: str) -> float:
    """Median microseconds of one `admit`."""
    gate = Gate(settings, database)
    rule = rule_for("GET", "/v1/jobs/x")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/jobs/x",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {key}".encode())] if key else [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 1),
        "state": {"request_id": "req_1"},
    }
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        await gate.admit(scope, rule)
        times.append(time.perf_counter() - begun)
    await gate.close()
    return statistics.median(times) * 1e6


def over_http(kinds: dict[str, tuple[str, ApiSettings]], job_id: str) -> None:
    servers = {}
    for name, (key, settings) in kinds.items():
        server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_config=None, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False)
        servers[name] = (server, thread, client)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(REQUESTS):
        for name, (_, _, client) in servers.items():
            begun = time.perf_counter()
            assert client.get(f"/v1/jobs/{job_id}").status_code == 200
            times[name].append(time.perf_counter() - begun)
    for name, found in times.items():
        lower, median, _ = statistics.quantiles(found, n=4)
        print(f"request {name:34} {median * 1e3:7.2f} ms  (lower quartile {lower * 1e3:.2f} ms)")
    for server, thread, client in servers.values():
        client.close()
        server.should_exit = True
        thread.join(10)


if __name__ == "__main__":
    main()
