"""When `attractor serve` does not start: the message, and nothing left behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from cli.main import app


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == 1
    return result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_addresses_than_loopback_are_refused_without_keys(host, tmp_path):
    data_dir = tmp_path / "data"
    message = refused("--host", host, "--data-dir", str(data_dir))
    assert f"Refusing to listen on {host}" in message
    assert f"attractor keys create --data-dir {data_dir}" in message
    assert not data_dir.exists()


def test_a_revoked_key_is_none(tmp_path):
    arguments = ["--data-dir", str(tmp_path)]
    key = CliRunner().invoke(app, ["keys", "create", *arguments]).stdout.strip()
    assert CliRunner().invoke(app, ["keys", "revoke", key[:12], *arguments]).exit_code == 0
    assert "Refusing to listen" in refused("--host", "0.0.0.0", *arguments)


def test_a_database_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    message = refused("--host", "0.0.0.0", "--data-dir", str(tmp_path))
    assert "does not answer" in message


def test_an_unknown_host_is_refused(tmp_path):
    assert "not known" in refused("--host", "no-such-host.invalid", "--data-dir", str(tmp_path))


def test_a_taken_port_is_refused_and_the_directory_is_free_again(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        message = refused("--port", str(port), "--data-dir", str(tmp_path))
    assert f"Port {port} of 127.0.0.1 cannot be used" in message
    assert "--port" in message
    with FileLock(tmp_path / "serve.lock", timeout=0):
        pass
    assert not (tmp_path / "attractor.db").exists()


def test_a_second_instance_is_told_who_is_first(tmp_path):
    (tmp_path / "serve.json").write_text(json.dumps({"pid": 4711, "url": "http://127.0.0.1:8000"}))
    with FileLock(tmp_path / "serve.lock"):
        message = refused("--port", "0", "--data-dir", str(tmp_path))
    assert "process 4711 already serves it at http://127.0.0.1:8000" in message


def test_a_second_instance_that_comes_too_early_is_refused_as_well(tmp_path):
    with FileLock(tmp_path / "serve.lock"):
        assert "another process is about to serve it" in refused("--port", "0", "--data-dir", str(tmp_path))


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in refused("--port", "0", "--data-dir", str(tmp_path / "file" / "data"))


def test_a_database_of_a_newer_version_is_refused(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "attractor.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
    connection.close()
    message = refused("--port", "0", "--data-dir", str(tmp_path))
    assert "could not be brought to the newest schema" in message
    assert "9999" in message
