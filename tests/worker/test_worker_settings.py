"""Settings of the worker, and what they do to the environment of the numeric libraries."""

from __future__ import annotations

import os

import pytest

from worker.settings import WorkerSettings


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    fresh: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", fresh)
    return fresh


def test_the_embedded_queue_has_one_process(environment):
    assert WorkerSettings(concurrency=8).jobs_at_once == 1
    assert WorkerSettings(concurrency=8, broker_url="redis://localhost/0").jobs_at_once == 8
    assert WorkerSettings(broker_url="redis://localhost/0").jobs_at_once == os.cpu_count()


def test_the_cores_are_shared_among_the_processes(environment, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    settings = WorkerSettings(concurrency=4, broker_url="redis://localhost/0")
    variables = settings.thread_variables()
    assert {variables[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")} == {"4"}
    assert settings.seeds_at_once == 4


def test_seeds_trained_at_once_may_be_set_apart(environment):
    assert WorkerSettings(threads=3).seeds_at_once == 3
    environment["ATTRACTOR_TRAIN_THREADS"] = "2"
    assert WorkerSettings(threads=3).seeds_at_once == 2
    with pytest.raises(ValueError, match="train_threads"):
        WorkerSettings(train_threads=-1)


def test_what_the_operator_has_set_is_kept(environment):
    environment["OMP_NUM_THREADS"] = "3"
    variables = WorkerSettings(threads=1).thread_variables()
    assert (variables["OMP_NUM_THREADS"], variables["NUMBA_NUM_THREADS"]) == ("3", "1")
