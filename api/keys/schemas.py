"""Keys, who calls, and audit events as callers see them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StrictFloat

from domain.base import Document, Instant, Spec
from domain.keys import SCOPES, WORK, Scope
from store.tables import AuditRow, KeyRow

MAX_DAYS, MAX_OVERLAP_HOURS = 3650, 720
_SCOPES = "What the key allows. " + " ".join(f"`{scope}`: {what}" for scope, what in SCOPES.items())


class KeyRequest(Spec):
    """A key to be made."""

    name: str = Field(min_length=1, max_length=100, description="Who or what will use it.", examples=["notebook"])
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] = Field(
        default=list(WORK), description=_SCOPES
    )
    expires_days: StrictFloat | None = Field(
        default=None, gt=0, le=MAX_DAYS, description="Days until it expires; null: it does not."
    )


class RotationRequest(Spec):
    """How a key is replaced."""

    overlap_hours: StrictFloat = Field(
        default=24.0, ge=0, le=MAX_OVERLAP_HOURS, description="How long the old key stays valid beside the new one."
    )


class KeyOut(Document):
    """What is known of a key; the key itself is not."""

    id: str
    name: str
    hint: str = Field(description="How the key begins.")
    scopes: list[str]
    created_at: Instant
    expires_at: Instant | None
    revoked_at: Instant | None
    last_used_at: Instant | None = Field(description="To about a minute.")
    replaces: str | None = Field(description="Id of the key that was rotated.")

    @classmethod
    def of(cls, row: KeyRow) -> KeyOut:
        return cls.model_validate(row, from_attributes=True)


class NewKeyOut(KeyOut):
    """A new key, shown this once."""

    key: str = Field(description="The key itself. Keep it now: nobody can look it up again.")


class Quotas(Document):
    """Limits of the tenant; null: none."""

    max_running_jobs: int | None
    max_queued_jobs: int | None
    requests_per_minute: int | None


class Usage(Document):
    """What the tenant uses of its quotas."""

    running_jobs: int
    queued_jobs: int = Field(description="Queued or paused.")


class Me(Document):
    """Who calls."""

    tenant: str
    key: KeyOut | None = Field(description="null where the service demands no key and none was sent.")
    scopes: list[Scope]
    quotas: Quotas
    usage: Usage


class AuditEventOut(Document):
    """What somebody did, or was refused."""

    id: str
    created_at: Instant
    action: str = Field(description="Such as `key.created`, `job.submitted` or `series.deleted`.")
    outcome: str = Field(description="`ok` or `refused`.")
    key_id: str | None
    target: str | None = Field(description="Id of what it was done to.")
    address: str | None = Field(description="Where the request came from; of IPv6 the /64 network.")
    request_id: str | None
    detail: dict[str, Any]

    @classmethod
    def of(cls, row: AuditRow) -> AuditEventOut:
        return cls.model_validate(row, from_attributes=True)
