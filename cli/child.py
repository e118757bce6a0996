"""A child of `attractor serve`: `python -m cli.child api|worker`. Settings come by environment."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

SOCKET_FD = "ATTRACTOR_SOCKET_FD"
EXIT_GRACE_SECONDS = 5.0


def main(role: str) -> int:
    _exit_with_launcher()
    return {"api": _api, "worker": _worker}[role]()


def _exit_with_launcher() -> None:
    """End this process when its stdin ends: then the launcher is gone, and a new one may start on the same data."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(EXIT_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


def _api() -> int:
    from api.settings import ApiSettings
    from cli.api import run_api

    # The launcher owns the listening socket: a taken port is its error, and connections wait while a crashed API restarts.
    return run_api(ApiSettings(), socket.socket(fileno=int(os.environ[SOCKET_FD])))


def _worker() -> int:
    from worker.settings import WorkerSettings

    settings = WorkerSettings()
    from worker.app import run_worker

    return run_worker(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
