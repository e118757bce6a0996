"""The small commands."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cli.main import app


def test_help_lists_the_commands_and_imports_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "print(CliRunner().invoke(app, ['--help']).stdout);"
        "print([m for m in ('torch', 'numba', 'numpy', 'sqlalchemy', 'celery', 'fastapi') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for command in ("serve", "worker", "migrate", "demo", "version", "upload", "reconstruct", "jobs", "models"):
        assert command in output
    assert output.strip().endswith("[]")


def test_version():
    assert CliRunner().invoke(app, ["version"]).stdout.strip() == version("attractor")


def test_migrate_and_check(empty_settings, monkeypatch):
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(empty_settings.data_dir))
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", empty_settings.database_url)
    before = CliRunner().invoke(app, ["migrate", "--check"])
    assert (before.exit_code, "Run `attractor migrate`" in before.stderr) == (1, True)
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
    after = CliRunner().invoke(app, ["migrate", "--check"])
    assert (after.exit_code, "The schema is at revision" in after.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments", [["serve", "--port", "70000"], ["serve", "--workers", "0"], ["worker", "--concurrency", "0"]]
)
def test_options_out_of_range_are_refused(arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 2
