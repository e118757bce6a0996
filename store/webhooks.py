"""Webhooks of a tenant, the secrets that sign their messages, and the messages themselves (Standard Webhooks).

A message is written in the transaction in which its event happens: there is no event without its message, and no message
of an event that was rolled back. Sending is the worker's business, out of what `store.deliveries` hands it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from domain.documents import href, result_ref
from domain.errors import Conflict, InvalidParameters, NotFound
from domain.ids import new_id, uuid7
from domain.jobs import JobStatus
from domain.webhooks import EVENT_OF_STATUS, TEST_EVENT, DeliveryStatus, WebhookEvent, parse_url
from store.clock import now
from store.pages import Page, page
from store.settings import StoreSettings
from store.tables import JobRow, WebhookDeliveryRow, WebhookRow

MAX_WEBHOOKS = 50  # of a tenant
# For so long after a rotation messages are signed with the secret before as well, so that receivers can be changed.
ROTATION_GRACE_SECONDS = 24 * 3600.0


class TooManyWebhooks(Conflict):
    code, title = "too_many_webhooks", "Too many webhooks"


class WebhookDisabled(Conflict):
    code, title = "webhook_disabled", "The webhook is disabled"


def add(
    session: Session,
    settings: StoreSettings,
    *,
    url: str,
    events: Sequence[WebhookEvent],
    description: str | None = None,
    tenant: str = "default",
) -> WebhookRow:
    """A new webhook; InvalidParameters for a URL that must not be called, TooManyWebhooks at the limit."""
    count = select(func.count()).select_from(WebhookRow).where(WebhookRow.tenant == tenant)
    if session.scalar(count) >= MAX_WEBHOOKS:  # type: ignore[operator]
        raise TooManyWebhooks(f"There are {MAX_WEBHOOKS} webhooks already, which is the limit. Delete one of them.")
    row = WebhookRow(
        id=new_id("webhook"),
        tenant=tenant,
        url=checked_url(settings, url),
        events=sorted(set(events)),
        description=description,
    )
    session.add(row)
    session.flush()
    return row


def checked_url(settings: StoreSettings, url: str) -> str:
    """The URL in the one form in which it is kept."""
    try:
        target = parse_url(
            url,
            allow_http=settings.webhook_allow_http,
            ports=settings.webhook_ports,
            allowed=settings.webhook_allow_private,
        )
    except ValueError as error:
        raise InvalidParameters(f"url {error}.") from error
    return target.url


def get(session: Session, webhook_id: str, *, tenant: str = "default") -> WebhookRow:
    row = session.scalar(select(WebhookRow).where(WebhookRow.id == webhook_id, WebhookRow.tenant == tenant))
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return row


def list_page(
    session: Session, *, tenant: str = "default", cursor: str | None = None, limit: int = 50
) -> Page[WebhookRow]:
    """Newest first."""
    return page(session, select(WebhookRow).where(WebhookRow.tenant == tenant), WebhookRow, "webhook", cursor, limit)


def change(
    session: Session,
    settings: StoreSettings,
    webhook_id: str,
    *,
    tenant: str = "default",
    enabled: bool | None = None,
    **values: Any,
) -> WebhookRow:
    """The webhook with `url`, `events`, `description` as given, and switched on or off by `enabled`."""
    row = get(session, webhook_id, tenant=tenant)
    if "url" in values:
        values["url"] = checked_url(settings, values["url"])
    if "events" in values:
        values["events"] = sorted(set(values["events"]))
    if enabled is True and row.disabled_at is not None:
        values |= {"disabled_at": None, "disabled_because": None, "failing_since": None}
    elif enabled is False and row.disabled_at is None:
        values |= {"disabled_at": now(), "disabled_because": "Switched off by its owner."}
    if not values:
        return row
    return _update(session, row.id, values)


def delete(session: Session, webhook_id: str, *, tenant: str = "default") -> None:
    """Forget a webhook, its deliveries and what is still to be sent to it."""
    get(session, webhook_id, tenant=tenant)
    session.execute(sql_delete(WebhookRow).where(WebhookRow.id == webhook_id))


def rotate(session: Session, webhook_id: str, *, tenant: str = "default") -> WebhookRow:
    """Give the webhook another secret; the one before signs as well for `ROTATION_GRACE_SECONDS`."""
    row = get(session, webhook_id, tenant=tenant)
    values = {"secret_generation": WebhookRow.secret_generation + 1, "rotated_at": now()}
    return _update(session, row.id, values)


def _update(session: Session, webhook_id: str, values: dict[str, Any]) -> WebhookRow:
    changed = update(WebhookRow).where(WebhookRow.id == webhook_id).values(**values).returning(WebhookRow)
    row = session.scalar(changed, execution_options={"populate_existing": True})
    if row is None:  # deleted since it was looked at
        raise NotFound(f"There is no webhook {webhook_id}.")
    return row


def secret(service_secret: bytes, webhook_id: str, generation: int) -> str:
    """The signing secret as receivers are given it, `whsec_` and 32 bytes in Base64; derived, so kept nowhere."""
    key = hmac.digest(service_secret, f"webhook:{webhook_id}:{generation}".encode(), hashlib.sha256)
    return "whsec_" + base64.b64encode(key).decode()


def signing_secrets(service_secret: bytes, row: WebhookRow, moment: datetime) -> list[str]:
    """What signs a message at `moment`, the newest first: soon after a rotation there are two."""
    generations = [row.secret_generation]
    if row.rotated_at is not None and (moment - row.rotated_at).total_seconds() < ROTATION_GRACE_SECONDS:
        generations.append(row.secret_generation - 1)
    return [secret(service_secret, row.id, generation) for generation in generations]


def announce(session: Session, job: JobRow) -> int:
    """Write a message of the job's end to every enabled webhook of its tenant that asks for it, in the transaction of
    that end; how many. Thin: what happened and where to look, never the data."""
    event = EVENT_OF_STATUS[JobStatus(job.status)]
    listening = select(WebhookRow).where(WebhookRow.tenant == job.tenant, WebhookRow.disabled_at.is_(None))
    # Locked against deletion, or a job could not end because a webhook went away in this very moment.
    locked = listening.order_by(WebhookRow.id).with_for_update(read=True, key_share=True)
    rows = [row for row in session.scalars(locked) if event in row.events]
    if not rows:
        return 0
    result = result_ref(job.result_type, job.result_id) if job.result_type and job.result_id else None
    data = {
        "id": job.id,
        "href": href("job", job.id),
        "kind": job.kind,
        "status": job.status,
        "series_id": job.series_id,
        "model_id": job.model_id,
        "result": None if result is None else result.model_dump(mode="json"),
        "error": job.error,
        "metadata": job.request.get("metadata", {}),
    }
    payload = _payload(event, job.finished_at or datetime.now(UTC), data)
    message_id = f"msg_{uuid7().hex}"
    session.add_all([_delivery(row, message_id, event, payload) for row in rows])
    session.flush()
    return len(rows)


def send_test(session: Session, webhook_id: str, *, tenant: str = "default") -> WebhookDeliveryRow:
    """Write a `webhook.test` message to one webhook, whatever events it asks for."""
    row = require_enabled(session, webhook_id, tenant=tenant)
    payload = _payload(TEST_EVENT, datetime.now(UTC), {"webhook_id": row.id})
    delivery = _delivery(row, f"msg_{uuid7().hex}", TEST_EVENT, payload)
    session.add(delivery)
    session.flush()
    return delivery


def require_enabled(session: Session, webhook_id: str, *, tenant: str = "default") -> WebhookRow:
    """The webhook, locked against deletion; WebhookDisabled where nothing may be sent to it."""
    mine = (WebhookRow.id == webhook_id, WebhookRow.tenant == tenant)
    row = session.scalar(select(WebhookRow).where(*mine).with_for_update(read=True, key_share=True))
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    if row.disabled_at is not None:
        raise WebhookDisabled(f"The webhook is disabled: {row.disabled_because} Enable it first (PATCH enabled: true).")
    return row


def _payload(event: str, moment: datetime, data: dict[str, Any]) -> dict[str, Any]:
    timestamp = moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"type": str(event), "timestamp": timestamp, "data": data}


def _delivery(row: WebhookRow, message_id: str, event: str, payload: dict[str, Any]) -> WebhookDeliveryRow:
    return WebhookDeliveryRow(
        id=new_id("delivery"),
        tenant=row.tenant,
        webhook_id=row.id,
        message_id=message_id,
        event=str(event),
        payload=payload,
        status=DeliveryStatus.PENDING,
        log=[],
        next_attempt_at=now(),
    )
