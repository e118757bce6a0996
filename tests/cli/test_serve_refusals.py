"""When `attractor serve` or `attractor api` does not start: the message, and nothing left behind."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from cli.main import app


def refused(*arguments: str, command: str = "serve") -> str:
    result = CliRunner().invoke(app, [command, *arguments])
    assert result.exit_code == 1
    return result.stderr


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts on which `attractor api` would have begun to serve."""
    hosts: list[str] = []
    monkeypatch.setattr("cli.api.run_api", lambda settings, listener: hosts.append(settings.host) or 0)
    monkeypatch.setenv("ATTRACTOR_PORT", "0")
    return hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
@pytest.mark.parametrize("command", ["serve", "api"])
def test_other_addresses_than_loopback_are_refused_without_keys(command, host, tmp_path, monkeypatch, started):
    data_dir = tmp_path / "data"
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(data_dir))
    message = refused("--host", host, command=command)
    assert f"Refusing to listen on {host}" in message
    assert f"attractor keys create --name first --data-dir {data_dir}" in message
    assert not data_dir.exists()
    assert not started


def test_the_advice_helps(tmp_path, monkeypatch, started):
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(tmp_path / "data"))
    advice = refused("--host", "0.0.0.0", command="api").partition("attractor keys")[2].partition("  Or")[0]
    assert CliRunner().invoke(app, ["keys", *advice.split()]).exit_code == 0
    assert CliRunner().invoke(app, ["api", "--host", "0.0.0.0"]).exit_code == 0
    assert started == ["0.0.0.0"]


@pytest.mark.parametrize(("require", "said"), [("yes", ""), ("no", "can read and delete everything")])
def test_an_operator_who_has_decided_about_keys_is_obeyed(require, said, tmp_path, monkeypatch, started):
    """`yes` is what containers start with: the key is made while the API runs, and it refuses every request until then."""
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("ATTRACTOR_REQUIRE_KEYS", require)
    result = CliRunner().invoke(app, ["api", "--host", "0.0.0.0"])
    assert (result.exit_code, started) == (0, ["0.0.0.0"])
    assert said in result.stdout


def test_loopback_needs_no_key(tmp_path, monkeypatch, started):
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(tmp_path))
    assert CliRunner().invoke(app, ["api"]).exit_code == 0
    assert started == ["127.0.0.1"]


def test_a_revoked_key_is_none(tmp_path):
    arguments = ["--data-dir", str(tmp_path)]
    key = CliRunner().invoke(app, ["keys", "create", *arguments]).stdout.strip()
    assert CliRunner().invoke(app, ["keys", "revoke", key[:12], *arguments]).exit_code == 0
    assert "Refusing to listen" in refused("--host", "0.0.0.0", *arguments)


@pytest.mark.parametrize("command", ["serve", "api"])
def test_a_database_that_does_not_answer_is_named(command, tmp_path, monkeypatch, started):
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(tmp_path))
    message = refused("--host", "0.0.0.0", command=command)
    assert "cannot be read from the database" in message
    assert "connection refused" in message.lower()
    assert not started


def test_an_unknown_host_is_refused(tmp_path):
    assert "not known" in refused("--host", "no-such-host.invalid", "--data-dir", str(tmp_path))


def test_a_taken_port_is_refused_by_the_api_alone_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port} of 127.0.0.1 cannot be used" in refused("--port", str(port), command="api")


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
