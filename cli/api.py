"""The API as a process: `attractor api` on servers, a child of `attractor serve` on one machine."""

from __future__ import annotations

import logging
import socket

import uvicorn

from api.app import create_app
from api.settings import ApiSettings
from cli.listening import url_of
from store import logs

log = logging.getLogger("attractor.api")

SHUTDOWN_SECONDS = 2
# Longer than clients and proxies keep an idle connection (httpx 5 s, nginx 60 s): whoever closes first while the other
# sends costs a request, and httpx' 5 s against uvicorn's own 5 s did so again and again.
KEEP_ALIVE_SECONDS = 75


def run_api(settings: ApiSettings, listener: socket.socket) -> int:
    """Serve until SIGINT or SIGTERM what comes to `listener`, a socket on the settings' host; the exit status."""
    logs.configure(settings.log_format, settings.log_level)
    log.info("listening at %s", url_of(settings.host, listener))
    config = uvicorn.Config(
        create_app(settings),
        # Lines are ours alone; of the server's own only what is wrong.
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 1
