"""`attractor keys | tenants | audit`, on both databases."""

from __future__ import annotations

import json
import time

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from domain.keys import WORK, Caller, Principal, Scope, is_key
from store import keys
from store.database import Database
from store.secrets import service_secret


@pytest.fixture
def run(store_settings, monkeypatch):
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(store_settings.data_dir))
    if not store_settings.database_url.startswith("sqlite"):
        monkeypatch.setenv("ATTRACTOR_DATABASE_URL", store_settings.database_url)

    def run(*arguments: str, code: int = 0) -> Result:
        time.sleep(0.002)  # ids are ordered by milliseconds
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return run


def principal(database: Database, settings, key: str):
    with database.read() as session:
        return keys.authenticate(session, keys.digest(service_secret(settings), key))


def test_a_key_is_printed_alone_and_works(run, database, store_settings):
    result = run("keys", "create", "--tenant", "acme", "--name", "notebook")
    key = result.stdout.strip()
    assert is_key(key)
    assert "shown this once" in result.stderr
    found = principal(database, store_settings, key)
    assert (found.tenant, found.scopes) == ("acme", frozenset(WORK))


def test_scopes_and_expiry_are_as_asked(run, database, store_settings):
    made = json.loads(
        run("keys", "create", "--scopes", "jobs:read, results:read", "--expires-days", "30", "--json").stdout
    )
    assert made["scopes"] == ["jobs:read", "results:read"]
    assert made["expires_at"] > made["created_at"]
    everything = json.loads(run("keys", "create", "--scopes", "all", "--json").stdout)
    assert set(everything["scopes"]) == set(Scope)
    assert principal(database, store_settings, everything["key"]).scopes == frozenset(Scope)


def test_lists_show_what_opens_nothing(run):
    assert "attractor keys create" in run("keys", "list").stdout
    key = run("keys", "create", "--tenant", "acme").stdout.strip()
    run("keys", "create", "--tenant", "other")
    shown = run("keys", "list").stdout
    assert key[:12] in shown
    assert key[12:] not in shown
    assert [k["tenant"] for k in json.loads(run("keys", "list", "--json").stdout)] == ["other", "acme"]
    (only,) = json.loads(run("keys", "list", "--tenant", "acme", "--json").stdout)
    assert (only["hint"], only["state"]) == (key[:12], "valid")


def test_more_keys_than_a_page_are_listed(run, database, store_settings):
    secret = service_secret(store_settings)
    with database.write() as session:
        for i in range(60):
            keys.create(session, secret, Caller(Principal("acme")), tenant="acme", name=f"k{i}", scopes=WORK)
    assert len(json.loads(run("keys", "list", "--json").stdout)) == 60


def test_a_key_is_revoked_by_id_or_by_how_it_begins(run):
    key = run("keys", "create").stdout.strip()
    assert "is revoked" in run("keys", "revoke", key[:12]).stdout
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert row["state"] == "revoked"
    assert "was revoked before" in run("keys", "revoke", row["id"]).stdout
    assert "No one key is meant" in run("keys", "revoke", "atr_nothing", code=1).stderr


def test_rotation_prints_the_new_key_and_keeps_the_old_one_for_a_while(run, database, store_settings):
    old = run("keys", "create", "--tenant", "acme").stdout.strip()
    result = run("keys", "rotate", old[:12], "--overlap-hours", "2")
    new = result.stdout.strip()
    assert "another 2 h" in result.stderr
    assert principal(database, store_settings, old).tenant == principal(database, store_settings, new).tenant == "acme"
    rows = json.loads(run("keys", "list", "--json").stdout)
    assert rows[0]["replaces"] == rows[1]["id"]
    run("keys", "revoke", new[:12])
    assert "not valid any more" in run("keys", "rotate", new[:12], code=1).stderr


def test_tenants_are_limited_and_disabled(run):
    run("keys", "create", "--tenant", "acme")
    assert "max_running_jobs 2" in run("tenants", "set", "acme", "--max-running-jobs", "2").stdout
    run("tenants", "set", "acme", "--max-queued-jobs", "0", "--requests-per-minute", "100")
    (tenant,) = json.loads(run("tenants", "list", "--json").stdout)
    assert tenant == {
        "tenant": "acme",
        "disabled": False,
        "running_jobs": 0,
        "queued_jobs": 0,
        "max_running_jobs": 2,
        "max_queued_jobs": None,
        "requests_per_minute": 100,
    }
    run("tenants", "set", "acme", "--max-running-jobs", "-1")
    assert json.loads(run("tenants", "list", "--json").stdout)[0]["max_running_jobs"] is None
    run("tenants", "disable", "acme")
    assert "disabled" in run("tenants", "list").stdout
    run("tenants", "enable", "acme")
    assert not json.loads(run("tenants", "list", "--json").stdout)[0]["disabled"]
    assert "There is no tenant" in run("tenants", "disable", "nobody", code=1).stderr
    assert "Name a limit" in run("tenants", "set", "acme", code=1).stderr


def test_what_was_done_is_in_the_audit(run):
    run("keys", "create", "--tenant", "acme")
    run("tenants", "set", "acme", "--max-running-jobs", "2")
    events = json.loads(run("audit", "list", "--json").stdout)
    assert [e["action"] for e in events] == ["tenant.changed", "key.created"]
    assert json.loads(run("audit", "list", "--tenant", "other", "--json").stdout) == []
    assert len(json.loads(run("audit", "list", "--limit", "1", "--json").stdout)) == 1
    assert "key.created" in run("audit", "list", "--action", "key.created").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["keys", "create", "--scopes", "everything"], "There is no scope 'everything'"),
        (["keys", "create", "--scopes", ","], "at least one scope"),
        (["keys", "create", "--tenant", "Acme Inc"], "tenant's name"),
        (["keys", "create", "--name", "a\nb"], "name must be"),
        (["tenants", "set", "A B", "--max-running-jobs", "1"], "tenant's name"),
    ],
)
def test_mistakes_are_explained(run, arguments, says):
    assert says in run(*arguments, code=1).stderr


def test_the_first_key_makes_the_embedded_database(tmp_path, monkeypatch):
    directory = ["--data-dir", str(tmp_path / "data")]
    listing = CliRunner().invoke(app, ["keys", "list", *directory])
    assert (listing.exit_code, "There is no database" in listing.stderr) == (1, True)
    assert is_key(CliRunner().invoke(app, ["keys", "create", *directory]).stdout.strip())
    assert (tmp_path / "data" / "attractor.db").exists()


def test_a_schema_of_another_release_is_refused(empty_settings, monkeypatch):
    if empty_settings.database_url.startswith("sqlite"):
        pytest.skip("an embedded database is brought to the newest schema")
    monkeypatch.setenv("ATTRACTOR_DATABASE_URL", empty_settings.database_url)
    monkeypatch.setenv("ATTRACTOR_DATA_DIR", str(empty_settings.data_dir))
    result = CliRunner().invoke(app, ["keys", "create"])
    assert (result.exit_code, "run `attractor migrate`" in result.stderr) == (1, True)
