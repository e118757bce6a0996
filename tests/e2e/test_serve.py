"""The embedded default with real processes: one command, one directory, and nothing left of it at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
from serving import ROOT, TRAINING, eventually, henon, in_training, is_running, serving, submit, succeeded, upload

pytestmark = pytest.mark.e2e
HENON_LAMBDA = 0.41922  # per step; Sprott 2003, Chaos and Time-Series Analysis, appendix A
PARAMS = {"budget_seconds": 200}  # for busy machines: the usual budget is wall-clock time


def test_a_service_and_its_crashes(tmp_path):
    """A job runs; a second instance is refused; killed children are started again; SIGTERM leaves nothing."""
    with serving(tmp_path / "data") as served, served.client as client:
        series_id = upload(client, henon(1000))
        done = succeeded(client, submit(client, kind="lyapunov", series_id=series_id, params=PARAMS))
        assert done["attempt"] == 1
        found = client.get(done["result"]["href"]).json()
        assert found["lambda_max"]["value"] == pytest.approx(HENON_LAMBDA, rel=0.1), found["lambda_max"]

        second = subprocess.run(
            [sys.executable, "-m", "cli.main", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 1
        assert f"process {served.process.pid} already serves it at {served.url}" in second.stderr

        for role in ("worker", "api"):
            (old,) = served.children(role)
            os.kill(old, signal.SIGKILL)
            eventually(lambda role=role, old=old: served.children(role) not in ([], [old]), f"a new {role}")
        assert client.get("/readyz").status_code == httpx.codes.OK, "the request waits until the API is back"
        succeeded(client, submit(client, kind="lyapunov", series_id=series_id, params=PARAMS))

        children = served.children("api") + served.children("worker")
        assert len(children) == 2
        assert served.stop(signal.SIGTERM) == 0
        assert not any(map(is_running, children))
    assert not (tmp_path / "data" / "serve.json").exists()


def test_a_stopped_service_goes_on_with_its_job_later_and_a_killed_one_leaves_no_children(tmp_path):
    with serving(tmp_path / "data") as served, served.client as client:
        series_id = upload(client, henon(1500))
        job_id = submit(client, kind="train", series_id=series_id, params=TRAINING)
        eventually(lambda: in_training(client, job_id), "the job is in training")
        assert served.stop(signal.SIGINT) == 0
    with serving(tmp_path / "data") as served, served.client as client:
        assert succeeded(client, job_id)["attempt"] == 1, "an attempt that was given back does not count"
        children = served.children("api") + served.children("worker")
        assert served.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(map(is_running, children)), "the children have ended", 30)
