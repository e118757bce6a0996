"""The embedded default with real processes: one command, one directory, and nothing left of it at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest
from serving import ROOT, TRAINING, ended, eventually, henon, in_training, is_running, serving, submit, upload

pytestmark = pytest.mark.e2e
HENON_LAMBDA = 0.41922  # per step; Sprott 2003, Chaos and Time-Series Analysis, appendix A
PARAMS = {"budget_seconds": 200}  # for busy machines: the usual budget is wall-clock time


def test_a_job_runs_a_second_instance_is_refused_and_sigterm_leaves_nothing(tmp_path):
    with serving(tmp_path / "data") as served:
        with served.client as client:
            series_id = upload(client, henon(1000))
            done = ended(client, submit(client, kind="lyapunov", series_id=series_id, params=PARAMS))
            assert (done["status"], done["attempt"], done["error"]) == ("succeeded", 1, None)
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

        children = served.children("api") + served.children("worker")
        assert len(children) == 2
        assert served.stop(signal.SIGTERM) == 0
        assert not any(map(is_running, children))
    assert not (tmp_path / "data" / "serve.json").exists()


def test_crashed_children_are_started_again_and_requests_wait_for_the_api(tmp_path):
    with serving(tmp_path / "data") as served, served.client as client:
        for role in ("worker", "api"):
            (old,) = served.children(role)
            os.kill(old, signal.SIGKILL)
            eventually(lambda role=role, old=old: served.children(role) not in ([], [old]), f"a new {role}")
        assert client.get("/readyz").status_code == httpx.codes.OK
        series_id = upload(client, henon(1000))
        assert ended(client, submit(client, kind="lyapunov", series_id=series_id))["status"] == "succeeded"
        assert served.stop(signal.SIGINT) == 0


def test_a_stopped_service_gives_its_job_back_and_goes_on_with_it_later(tmp_path):
    with serving(tmp_path / "data") as served, served.client as client:
        series_id = upload(client, henon(1500))
        job_id = submit(client, kind="train", series_id=series_id, params=TRAINING)
        eventually(lambda: in_training(client, job_id), "the job is in training")
        assert served.stop() == 0
    with serving(tmp_path / "data") as served, served.client as client:
        done = ended(client, job_id)
        assert (done["status"], done["attempt"]) == ("succeeded", 1), "an attempt that was given back does not count"


def test_the_children_of_a_killed_launcher_end_by_themselves(tmp_path):
    with serving(tmp_path / "data") as served:
        children = served.children("api") + served.children("worker")
        assert served.stop(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(map(is_running, children)), "the children have ended", 30)
    with serving(tmp_path / "data") as served, served.client as client:
        assert client.get("/livez").status_code == httpx.codes.OK
