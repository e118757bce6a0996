"""The API as a process: `attractor api` on servers, a child of `attractor serve` on one machine."""

from __future__ import annotations

import socket

import uvicorn

from api.app import create_app
from api.settings import ApiSettings
from store import logs

SHUTDOWN_SECONDS = 2
# Longer than clients and proxies keep an idle connection (httpx 5 s, nginx 60 s): whoever closes first while the other
# sends costs a request, and httpx' 5 s against uvicorn's own 5 s did so again and again.
KEEP_ALIVE_SECONDS = 75


def run_api(settings: ApiSettings, listener: socket.socket | None = None) -> int:
    """Serve until SIGINT or SIGTERM, on `listener` or on the settings' host and port; the exit status."""
    logs.configure(settings.log_format, settings.log_level)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        # Lines are ours alone; of the server's own only what is wrong.
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run(sockets=None if listener is None else [listener])
    return 0 if server.started else 1
