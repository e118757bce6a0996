"""Keys of tenants. Of a key only an HMAC-SHA256 is stored: whoever reads the database can use none of them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import func, inspect, or_, select, update
from sqlalchemy.orm import Session

from domain.errors import Conflict, InvalidKey, InvalidParameters, NotFound, TenantDisabled
from domain.ids import is_id, new_id
from domain.keys import TENANT, Caller, Principal, Scope, hint, new_key
from store import audit
from store.clock import now
from store.database import Database, insert_if_new
from store.pages import Page, page
from store.tables import KeyRow, TenantRow

MAX_NAME_LENGTH = 100
TOUCH_SECONDS = 60.0


@dataclass(frozen=True)
class Made:
    """A new key: `text` is the key itself, which nobody can look up again."""

    row: KeyRow
    text: str


def digest(secret: bytes, key: str) -> str:
    """What is stored of a key, and what it is found by."""
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()


def create(
    session: Session,
    secret: bytes,
    caller: Caller,
    *,
    tenant: str,
    name: str,
    scopes: Collection[Scope],
    expires_days: float | None = None,
    replaces: str | None = None,
) -> Made:
    """A key of `tenant`, which comes into being with its first key."""
    check_tenant(tenant)
    if not (1 <= len(name) <= MAX_NAME_LENGTH and name.isprintable()):
        raise InvalidParameters(f"A key's name must be 1 to {MAX_NAME_LENGTH} printable characters.")
    if not scopes:
        raise InvalidParameters("A key needs at least one scope.")
    insert_if_new(session, TenantRow, {"name": tenant})
    text = new_key()
    row = KeyRow(
        id=new_id("key"),
        tenant=tenant,
        name=name,
        digest=digest(secret, text),
        hint=hint(text),
        scopes=sorted(scopes),
        expires_at=None if expires_days is None else now(expires_days * 86_400),
        replaces=replaces,
    )
    session.add(row)
    detail = {"name": name, "scopes": row.scopes, "tenant": tenant} | ({"replaces": replaces} if replaces else {})
    audit.record(session, caller, "key.created", target=row.id, detail=detail)
    session.flush()
    session.refresh(row)
    return Made(row, text)


def rotate(session: Session, secret: bytes, caller: Caller, key_id: str, *, overlap_hours: float) -> Made:
    """A new key with the old one's name, scopes and lifetime; the old one stays valid for `overlap_hours`."""
    old = get(session, key_id, tenant=caller.principal.tenant)
    if old.revoked_at is not None or _expired(session, old):
        raise Conflict(f"Key {key_id} is not valid any more: create a new one.")
    lifetime = None if old.expires_at is None else (old.expires_at - old.created_at).total_seconds() / 86_400
    made = create(
        session,
        secret,
        caller,
        tenant=old.tenant,
        name=old.name,
        scopes=scopes_of(old),
        expires_days=lifetime,
        replaces=old.id,
    )
    ends = now(overlap_hours * 3600)
    session.execute(
        update(KeyRow)
        .where(KeyRow.id == old.id, or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > ends))
        .values(expires_at=ends)
    )
    detail = {"by": made.row.id, "overlap_hours": overlap_hours}
    audit.record(session, caller, "key.rotated", target=old.id, detail=detail)
    session.flush()
    return made


def revoke(session: Session, caller: Caller, key_id: str) -> KeyRow:
    """The key, which is valid no more; nothing changes if it was revoked before."""
    row = get(session, key_id, tenant=caller.principal.tenant)
    if row.revoked_at is None:
        row.revoked_at = now()
        audit.record(session, caller, "key.revoked", target=row.id)
        session.flush()
        session.refresh(row)
    return row


def get(session: Session, key_id: str, *, tenant: str) -> KeyRow:
    row = session.scalar(select(KeyRow).where(KeyRow.id == key_id, KeyRow.tenant == tenant))
    if row is None:
        raise NotFound(f"There is no key {key_id[:60]!r}.")
    return row


def named(session: Session, text: str) -> KeyRow:
    """The key that an operator means by its id or by its hint, of whatever tenant."""
    query = select(KeyRow).where(KeyRow.id == text if is_id(text, "key") else KeyRow.hint == text)
    rows = list(session.scalars(query.limit(2)))
    if len(rows) != 1:
        what = "several keys begin" if rows else "there is no key that begins"
        raise NotFound(f"No one key is meant by {text[:60]!r}: {what} so. Name its id; `attractor keys list` shows it.")
    return rows[0]


def list_page(session: Session, *, tenant: str | None, cursor: str | None = None, limit: int = 50) -> Page[KeyRow]:
    """Newest first, also those that are valid no more; `tenant` None: of all tenants."""
    query = select(KeyRow)
    if tenant is not None:
        query = query.where(KeyRow.tenant == tenant)
    return page(session, query, KeyRow, "key", cursor, limit)


def authenticate(session: Session, digest: str) -> Principal:
    """Whose key has this digest. InvalidKey for one that is unknown, revoked or expired; TenantDisabled."""
    found = session.execute(
        select(KeyRow, KeyRow.expires_at <= now(), TenantRow.disabled_at)
        .outerjoin(TenantRow, TenantRow.name == KeyRow.tenant)
        .where(KeyRow.digest == digest)
    ).one_or_none()
    # The index has compared already; nothing rests on how it does that.
    if found is None or not hmac.compare_digest(found[0].digest, digest):
        raise InvalidKey("This key is unknown: it may belong to another service.")
    row, expired, disabled_at = found
    principal = Principal(row.tenant, row.id, scopes_of(row))
    if row.revoked_at is not None:
        raise InvalidKey(f"Key {row.id} was revoked.", principal=principal, why="revoked")
    if expired:
        raise InvalidKey(f"Key {row.id} has expired.", principal=principal, why="expired")
    if disabled_at is not None:
        raise TenantDisabled(f"Tenant {row.tenant} is disabled: ask whoever runs this service.")
    return principal


def exist(session: Session) -> bool:
    """Whether a key was ever made. A revoked one counts: who revokes the last key does not mean to open the service."""
    return session.scalar(select(KeyRow.id).limit(1)) is not None


def usable(database: Database) -> bool:
    """Whether somebody holds a valid key; False as well for a database that knows no keys yet."""
    if not inspect(database.engine).has_table(KeyRow.__tablename__):
        return False
    valid = KeyRow.revoked_at.is_(None), or_(KeyRow.expires_at.is_(None), KeyRow.expires_at > now())
    with database.read() as session:
        return session.scalar(select(KeyRow.id).where(*valid).limit(1)) is not None


def touch(session: Session, key_id: str) -> None:
    """Note that a key is in use, at most once a minute."""
    stale = or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < now(-TOUCH_SECONDS))
    session.execute(update(KeyRow).where(KeyRow.id == key_id, stale).values(last_used_at=now()))


def scopes_of(row: KeyRow) -> frozenset[Scope]:
    """What the key allows, as far as this release knows it."""
    return frozenset(scope for scope in Scope if scope.value in row.scopes)


def check_tenant(name: str) -> None:
    """Raise InvalidParameters unless a tenant may be called so."""
    if TENANT.fullmatch(name) is None:
        raise InvalidParameters(
            f"A tenant's name is 1 to 64 of a-z, 0-9, dot, hyphen and underscore, a letter or digit first; not {name[:80]!r}."
        )


def _expired(session: Session, row: KeyRow) -> bool:
    if row.expires_at is None:
        return False
    query = select(func.count()).where(KeyRow.id == row.id, KeyRow.expires_at <= now())
    return session.scalar(query) == 1
