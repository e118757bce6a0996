"""Keys: made once, stored as digests, valid until they are revoked, expired or replaced."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from domain.errors import Conflict, InvalidKey, InvalidParameters, NotFound, TenantDisabled
from domain.ids import earliest_id, new_id
from domain.keys import WORK, Caller, Principal, Scope
from store import audit, keys
from store.clock import now
from store.database import Database
from store.tables import AuditRow, KeyRow, TenantRow

SECRET = b"s" * 32
OPERATOR = Caller(Principal("acme"), address="127.0.0.1", request_id="req_1")


def make(database: Database, tenant: str = "acme", **options) -> keys.Made:  # type: ignore[no-untyped-def]
    options = {"name": "first", "scopes": WORK} | options
    with database.write() as session:
        return keys.create(session, SECRET, OPERATOR, tenant=tenant, **options)


def authenticate(database: Database, key: str) -> Principal:
    with database.read() as session:
        return keys.authenticate(session, keys.digest(SECRET, key))


def actions(database: Database, tenant: str | None = "acme") -> list[tuple[str, str | None]]:
    with database.read() as session:
        return [(row.action, row.target) for row in audit.list_page(session, tenant=tenant).items]


def test_a_key_says_whose_it_is_and_what_it_allows(database: Database) -> None:
    made = make(database, scopes=[Scope.JOBS_READ, Scope.SERIES_READ])
    assert authenticate(database, made.text) == Principal(
        "acme", made.row.id, frozenset({Scope.SERIES_READ, Scope.JOBS_READ})
    )
    assert made.row.hint == made.text[:12]
    assert (made.row.expires_at, made.row.revoked_at, made.row.last_used_at) == (None, None, None)


def test_the_key_itself_is_nowhere_in_the_database(database: Database) -> None:
    made = make(database)
    assert made.row.digest == hmac.new(SECRET, made.text.encode(), hashlib.sha256).hexdigest()
    with database.read() as session:
        for table in ("api_key", "audit_event", "tenant"):
            rows = session.execute(text(f"SELECT * FROM {table}")).all()
            assert rows
            assert made.text[12:] not in repr(rows)


@pytest.mark.parametrize("other", ["another key", "another secret"])
def test_what_was_not_made_here_is_unknown(database: Database, other: str) -> None:
    made = make(database)
    key, secret = (made.text, b"t" * 32) if other == "another secret" else (made.text[:-1], SECRET)
    with database.read() as session, pytest.raises(InvalidKey, match="unknown") as error:
        keys.authenticate(session, keys.digest(secret, key))
    assert error.value.principal is None


def test_a_revoked_key_is_valid_no_more_and_its_use_is_known(database: Database) -> None:
    made = make(database)
    with database.write() as session:
        first = keys.revoke(session, OPERATOR, made.row.id).revoked_at
    with database.write() as session:
        assert keys.revoke(session, OPERATOR, made.row.id).revoked_at == first
    with pytest.raises(InvalidKey, match="was revoked") as error:
        authenticate(database, made.text)
    assert (error.value.why, error.value.principal and error.value.principal.key_id) == ("revoked", made.row.id)
    assert sorted(actions(database)) == [("key.created", made.row.id), ("key.revoked", made.row.id)]


def test_a_key_expires_by_the_databases_clock(database: Database) -> None:
    made = make(database, expires_days=30)
    assert made.row.expires_at is not None
    assert abs(made.row.expires_at - made.row.created_at - timedelta(days=30)) < timedelta(seconds=5)
    authenticate(database, made.text)
    with database.write() as session:
        session.execute(update(KeyRow).values(expires_at=now(-1)))
    with pytest.raises(InvalidKey, match="has expired") as error:
        authenticate(database, made.text)
    assert error.value.why == "expired"


def test_a_rotated_key_and_the_new_one_are_both_valid_for_a_while(database: Database) -> None:
    old = make(database, expires_days=30, scopes=[Scope.JOBS_READ])
    with database.write() as session:
        new = keys.rotate(session, SECRET, OPERATOR, old.row.id, overlap_hours=2)
    assert new.text != old.text
    assert (new.row.replaces, new.row.name, new.row.scopes) == (old.row.id, "first", ["jobs:read"])
    assert new.row.expires_at is not None
    assert abs(new.row.expires_at - new.row.created_at - timedelta(days=30)) < timedelta(seconds=5)
    assert authenticate(database, old.text).key_id == old.row.id
    assert authenticate(database, new.text).key_id == new.row.id
    with database.read() as session:
        left = session.scalars(select(KeyRow.expires_at).where(KeyRow.id == old.row.id)).one()
    assert abs(left - new.row.created_at - timedelta(hours=2)) < timedelta(seconds=5)
    assert ("key.rotated", old.row.id) in actions(database)


def test_rotation_without_overlap_ends_the_old_key_and_a_dead_key_cannot_be_rotated(database: Database) -> None:
    old = make(database)
    with database.write() as session:
        new = keys.rotate(session, SECRET, OPERATOR, old.row.id, overlap_hours=0)
    with pytest.raises(InvalidKey, match="has expired"):
        authenticate(database, old.text)
    with database.write() as session, pytest.raises(Conflict, match="not valid any more"):
        keys.rotate(session, SECRET, OPERATOR, old.row.id, overlap_hours=1)
    with database.write() as session:
        keys.revoke(session, OPERATOR, new.row.id)
    with database.write() as session, pytest.raises(Conflict, match="not valid any more"):
        keys.rotate(session, SECRET, OPERATOR, new.row.id, overlap_hours=1)


def test_rotation_never_makes_a_key_live_longer(database: Database) -> None:
    old = make(database, expires_days=1 / 24)
    with database.write() as session:
        keys.rotate(session, SECRET, OPERATOR, old.row.id, overlap_hours=48)
    with database.read() as session:
        assert session.scalars(select(KeyRow.expires_at).where(KeyRow.id == old.row.id)).one() == old.row.expires_at


def test_a_disabled_tenants_keys_are_refused(database: Database) -> None:
    made = make(database)
    with database.write() as session:
        session.execute(update(TenantRow).where(TenantRow.name == "acme").values(disabled_at=now()))
    with pytest.raises(TenantDisabled, match="acme"):
        authenticate(database, made.text)


def test_another_tenants_key_is_not_there(database: Database) -> None:
    made = make(database, tenant="other")
    for work in (
        lambda session: keys.get(session, made.row.id, tenant="acme"),
        lambda session: keys.revoke(session, OPERATOR, made.row.id),
        lambda session: keys.rotate(session, SECRET, OPERATOR, made.row.id, overlap_hours=1),
    ):
        with database.write() as session, pytest.raises(NotFound):
            work(session)
    authenticate(database, made.text)
    with database.read() as session:
        assert keys.list_page(session, tenant="acme").items == []
        assert [row.id for row in keys.list_page(session, tenant=None).items] == [made.row.id]


def test_an_operator_names_a_key_by_its_id_or_its_hint(database: Database) -> None:
    made = make(database)
    with database.read() as session:
        assert keys.named(session, made.row.id).id == made.row.id
        assert keys.named(session, made.row.hint).id == made.row.id
        for text_ in ("atr_", made.text, new_id("key")):
            with pytest.raises(NotFound, match="attractor keys list"):
                keys.named(session, text_)


def test_use_is_noted_once_a_minute(database: Database) -> None:
    made = make(database)

    def touched() -> object:
        with database.write() as session:
            keys.touch(session, made.row.id)
        with database.read() as session:
            return session.scalars(select(KeyRow.last_used_at)).one()

    first = touched()
    assert first is not None
    assert touched() == first
    with database.write() as session:
        session.execute(update(KeyRow).values(last_used_at=now(-61)))
    assert touched() != first


def test_keys_exist_from_the_first_one_on_and_are_usable_while_valid(database: Database) -> None:
    def seen() -> tuple[bool, bool]:
        with database.read() as session:
            return keys.exist(session), keys.usable(database)

    assert seen() == (False, False)
    made = make(database)
    assert seen() == (True, True)
    with database.write() as session:
        keys.revoke(session, OPERATOR, made.row.id)
    assert seen() == (True, False)


def test_a_database_without_tables_has_no_usable_keys(empty_settings) -> None:  # type: ignore[no-untyped-def]
    database = Database(empty_settings)
    assert not keys.usable(database)
    database.close()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tenant": "Acme Inc"}, "tenant's name"),
        ({"tenant": "a" * 65}, "tenant's name"),
        ({"tenant": ""}, "tenant's name"),
        ({"name": ""}, "name must be"),
        ({"name": "a\nb"}, "name must be"),
        ({"scopes": []}, "at least one scope"),
    ],
)
def test_what_cannot_be_stored_is_refused(database: Database, options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidParameters, match=says):
        make(database, **options)


def test_a_scope_of_a_later_release_is_left_out(database: Database) -> None:
    made = make(database)
    with database.write() as session:
        session.execute(update(KeyRow).values(scopes=["jobs:read", "teleport"]))
    assert authenticate(database, made.text).scopes == {Scope.JOBS_READ}


def test_audit_events_are_pages_of_one_tenant_and_expire(database: Database) -> None:
    for tenant, n in (("acme", 3), ("other", 2)):
        with database.write() as session:
            for i in range(n):
                time.sleep(0.002)  # ids are ordered by milliseconds
                caller = Caller(Principal(tenant, "key_1"), "192.0.2.1", f"req_{i}")
                audit.record(session, caller, "job.submitted", target=f"job_{i}", detail={"kind": "train"})
    with database.read() as session:
        page = audit.list_page(session, tenant="acme", limit=2)
        assert [row.target for row in page.items] == ["job_2", "job_1"]
        rest = audit.list_page(session, tenant="acme", cursor=page.next_cursor, limit=2)
        assert [row.target for row in rest.items] == ["job_0"]
        assert len(audit.list_page(session, tenant=None).items) == 5
        assert audit.list_page(session, tenant=None, action="key.created").items == []
        row = page.items[0]
        assert (row.key_id, row.address, row.request_id, row.outcome) == ("key_1", "192.0.2.1", "req_2", "ok")
    moment = datetime.now(UTC)
    with database.write() as session:
        for i, row in enumerate(session.scalars(select(AuditRow).where(AuditRow.tenant == "other")).all()):
            row.id = earliest_id("audit", moment - timedelta(days=40 + i))
    with database.write() as session:
        assert audit.expire(session, moment - timedelta(days=30), limit=1) == 1
        assert audit.expire(session, moment - timedelta(days=30), limit=9) == 1
        assert audit.expire(session, moment - timedelta(days=30), limit=9) == 0
    with database.read() as session:
        assert {row.tenant for row in audit.list_page(session, tenant=None).items} == {"acme"}
