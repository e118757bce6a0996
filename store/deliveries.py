"""The outbox of webhooks: which messages are due, who is sending which, and what came of it.

A sender claims a delivery for `CLAIM_SECONDS`, sends it outside of any transaction, and records the outcome, fenced by the
token of its claim. A sender that dies in between leaves a claim that runs out: the message is sent again under the same
`webhook-id`. So a message arrives at least once, and receivers tell a repetition by its id.
"""

from __future__ import annotations

import json
import random
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from domain.errors import NotFound
from domain.ids import earliest_id, new_id
from domain.webhooks import DeliveryStatus
from store import webhooks
from store.clock import now
from store.database import alone
from store.pages import Page, page
from store.settings import StoreSettings
from store.tables import WebhookDeliveryRow, WebhookRow

# Pauses after the first, second, ... failed attempt; after the last one the message is given up, a day and a half later.
BACKOFF_SECONDS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 8 * 3600.0, 24 * 3600.0)
MAX_ATTEMPTS = len(BACKOFF_SECONDS) + 1
JITTER = 0.2
MAX_RETRY_AFTER_SECONDS = 3600.0
CLAIM_SECONDS = 60.0  # well above the time that one attempt may take
PER_TENANT, PER_WEBHOOK = 8, 4  # under way at once, from all senders together
MAX_LOG = 20  # attempts that a delivery remembers, the newest
_BATCH = 200
_LOST = "The worker that sent it ended before it knew the answer; the message may have arrived."


# Accepted (2xx); answered otherwise; no answer; not sent, since the address is none that may be called.
Outcome = Literal["delivered", "refused", "unreachable", "forbidden"]


@dataclass(frozen=True)
class Due:
    id: str
    webhook_id: str
    tenant: str


@dataclass(frozen=True)
class Claimed:
    """One message that this sender is to send; plain data."""

    id: str
    tenant: str
    webhook_id: str
    message_id: str
    attempt: int
    token: str
    url: str
    body: bytes
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Recorded:
    """Where a delivery stands after an attempt."""

    status: DeliveryStatus
    age_seconds: float | None  # from the event to the end; None while it is pending
    disabled_because: str | None  # of its webhook


@dataclass(frozen=True)
class Attempt:
    """What came of sending a message once."""

    outcome: Outcome
    seconds: float
    status_code: int | None = None
    error: str | None = None
    response: str | None = None
    retry_after: float | None = None
    gone: bool = False  # 410: the receiver wants nothing any more


class UnderWay:
    """What all senders together are sending right now, by webhook and by tenant, and whether one more is allowed. Claims
    that have not run out: those of a sender that was killed count for up to `CLAIM_SECONDS`."""

    def __init__(self, session: Session) -> None:
        row = WebhookDeliveryRow
        # A short range of the index of what is due: retries that wait for longer, and what waits for a place, are outside.
        claimed = (row.next_attempt_at > now(), row.next_attempt_at <= now(CLAIM_SECONDS), row.token.is_not(None))
        query = select(row.webhook_id, row.tenant, func.count()).where(*claimed).group_by(row.webhook_id, row.tenant)
        self.webhooks: Counter[str] = Counter()
        self.tenants: Counter[str] = Counter()
        for webhook_id, tenant, count in session.execute(query):
            self.webhooks[webhook_id] += count
            self.tenants[tenant] += count

    def takes(self, webhook_id: str, tenant: str) -> bool:
        """Whether there is a place for one more, which is then counted."""
        if self.webhooks[webhook_id] >= PER_WEBHOOK or self.tenants[tenant] >= PER_TENANT:
            return False
        self.webhooks[webhook_id] += 1
        self.tenants[tenant] += 1
        return True


def due(session: Session) -> list[Due]:
    """Deliveries whose time has come and that the limits allow at this moment, the longest overdue first."""
    row, under_way = WebhookDeliveryRow, UnderWay(session)
    query = select(row.id, row.webhook_id, row.tenant).where(row.next_attempt_at <= now())
    busy_webhooks = [name for name, n in under_way.webhooks.items() if n >= PER_WEBHOOK]
    busy_tenants = [name for name, n in under_way.tenants.items() if n >= PER_TENANT]
    if busy_webhooks:
        query = query.where(row.webhook_id.not_in(busy_webhooks))
    if busy_tenants:
        query = query.where(row.tenant.not_in(busy_tenants))
    found = [Due(*one) for one in session.execute(query.order_by(row.next_attempt_at).limit(_BATCH))]
    return [one for one in found if under_way.takes(one.webhook_id, one.tenant)]


def claim(session: Session, service_secret: bytes, delivery_id: str) -> Claimed | None:
    """Take a delivery, which counts as an attempt; None when another sender was quicker, the limits are reached meanwhile,
    or nothing may be sent."""
    its = select(WebhookDeliveryRow.webhook_id, WebhookDeliveryRow.tenant).where(WebhookDeliveryRow.id == delivery_id)
    named = session.execute(its).one_or_none()
    if named is None:
        return None
    # Two senders must not both take a tenant's last place. Before any row is locked, lest two wait for each other; and the
    # webhook before the delivery, as its deletion does.
    alone(session, f"webhooks of {named.tenant}")
    lock = select(WebhookRow).where(WebhookRow.id == named.webhook_id).with_for_update(read=True, key_share=True)
    webhook = session.scalar(lock)
    if webhook is None or not UnderWay(session).takes(named.webhook_id, named.tenant):
        return None
    row = session.scalar(
        update(WebhookDeliveryRow)
        .where(WebhookDeliveryRow.id == delivery_id, WebhookDeliveryRow.next_attempt_at <= now())
        .values(attempts=WebhookDeliveryRow.attempts + 1, next_attempt_at=now(CLAIM_SECONDS))
        .returning(WebhookDeliveryRow),
        execution_options={"populate_existing": True, "synchronize_session": False},
    )
    if row is None:
        return None
    if row.token is not None:
        row.log = _logged(row.log, {"attempt": row.attempts - 1, "error": _LOST})
    disabled = webhook.disabled_at is not None
    if disabled or row.attempts > MAX_ATTEMPTS:
        row.attempts -= 1
        _end(row, DeliveryStatus.FAILED, f"Not sent, the webhook is disabled: {webhook.disabled_because}" * disabled)
        session.flush()
        return None
    row.token = secrets.token_hex(16)
    session.flush()
    return Claimed(
        id=row.id,
        tenant=row.tenant,
        webhook_id=row.webhook_id,
        message_id=row.message_id,
        attempt=row.attempts,
        token=row.token,
        url=webhook.url,
        body=json.dumps(row.payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(),
        secrets=tuple(webhooks.signing_secrets(service_secret, webhook, datetime.now(UTC))),
    )


def record(session: Session, settings: StoreSettings, sent: Claimed, attempt: Attempt) -> Recorded | None:
    """Write what came of an attempt, and when the next one is to be; None when the claim had run out."""
    # The webhook first, as in `claim`.
    lock = select(WebhookRow).where(WebhookRow.id == sent.webhook_id).with_for_update(key_share=True)
    webhook = session.scalar(lock)
    mine = (WebhookDeliveryRow.id == sent.id, WebhookDeliveryRow.token == sent.token)
    row = session.scalar(select(WebhookDeliveryRow).where(*mine).with_for_update())
    if row is None or webhook is None:
        return None
    row.token = None
    row.log = _logged(
        row.log,
        {
            "attempt": sent.attempt,
            "status_code": attempt.status_code,
            "seconds": round(attempt.seconds, 3),
            "error": attempt.error,
            "response": attempt.response,
        },
    )
    if attempt.outcome == "delivered":
        webhook.failing_since = None
        _end(row, DeliveryStatus.DELIVERED)
    else:
        _after_failure(settings, row, webhook, attempt)
    session.flush()
    session.refresh(row)
    ended = row.finished_at
    return Recorded(
        DeliveryStatus(row.status),
        None if ended is None else (ended - row.created_at).total_seconds(),
        webhook.disabled_because,
    )


def _after_failure(settings: StoreSettings, row: WebhookDeliveryRow, webhook: WebhookRow, attempt: Attempt) -> None:
    """Try again later, or give up the message, or the whole webhook."""
    moment = datetime.now(UTC)
    if webhook.failing_since is None:
        webhook.failing_since = moment
    failing = moment - webhook.failing_since
    reason = None
    if attempt.gone:
        reason = "The receiver answered 410 Gone."
    elif failing > timedelta(days=settings.webhook_disable_days):
        since = webhook.failing_since.isoformat(timespec="seconds").replace("+00:00", "Z")
        reason = f"Nothing could be delivered since {since}. Last: {attempt.error}"[:500]
    if reason is not None:
        webhook.disabled_at = webhook.disabled_at or moment
        webhook.disabled_because = webhook.disabled_because or reason
        _end(row, DeliveryStatus.FAILED)
    elif row.attempts >= MAX_ATTEMPTS:
        _end(row, DeliveryStatus.FAILED)
    else:
        row.next_attempt_at = now(pause_after(row.attempts, attempt.retry_after))


def pause_after(attempts: int, retry_after: float | None = None) -> float:
    """Seconds until the next attempt after so many failed ones; a receiver may ask for more, up to an hour."""
    pause = BACKOFF_SECONDS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(pause, min(retry_after or 0.0, MAX_RETRY_AFTER_SECONDS))


def _end(row: WebhookDeliveryRow, status: DeliveryStatus, why: str = "") -> None:
    if why:
        row.log = _logged(row.log, {"attempt": None, "error": why})
    row.status = status
    row.token = None
    row.next_attempt_at = None
    row.finished_at = now()


def _logged(log: list[dict[str, Any]], entry: dict[str, Any]) -> list[dict[str, Any]]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    empty = {"status_code": None, "seconds": None, "error": None, "response": None}
    return [*log, {"at": at, **empty, **entry}][-MAX_LOG:]


def get(session: Session, webhook_id: str, delivery_id: str, *, tenant: str = "default") -> WebhookDeliveryRow:
    webhooks.get(session, webhook_id, tenant=tenant)
    row = session.get(WebhookDeliveryRow, delivery_id, populate_existing=True)
    if row is None or row.webhook_id != webhook_id:
        raise NotFound(f"Webhook {webhook_id} has no delivery {delivery_id}.")
    return row


def list_page(
    session: Session,
    webhook_id: str,
    *,
    tenant: str = "default",
    status: DeliveryStatus | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[WebhookDeliveryRow]:
    """Newest first."""
    webhooks.get(session, webhook_id, tenant=tenant)
    query = select(WebhookDeliveryRow).where(
        WebhookDeliveryRow.tenant == tenant, WebhookDeliveryRow.webhook_id == webhook_id
    )
    if status is not None:
        query = query.where(WebhookDeliveryRow.status == status)
    return page(session, query, WebhookDeliveryRow, "delivery", cursor, limit)


def redeliver(session: Session, webhook_id: str, delivery_id: str, *, tenant: str = "default") -> WebhookDeliveryRow:
    """Send a message again, under the id that it had: a pending one at once, an ended one as a new delivery."""
    webhooks.require_enabled(session, webhook_id, tenant=tenant)
    row = get(session, webhook_id, delivery_id, tenant=tenant)
    if row.status == DeliveryStatus.PENDING:
        # Whoever is sending it right now keeps its claim.
        hasten = update(WebhookDeliveryRow).where(WebhookDeliveryRow.id == row.id, WebhookDeliveryRow.token.is_(None))
        session.execute(hasten.where(WebhookDeliveryRow.next_attempt_at.is_not(None)).values(next_attempt_at=now()))
        session.refresh(row)
        return row
    again = WebhookDeliveryRow(
        id=new_id("delivery"),
        tenant=row.tenant,
        webhook_id=row.webhook_id,
        message_id=row.message_id,
        event=row.event,
        payload=row.payload,
        status=DeliveryStatus.PENDING,
        log=[],
        next_attempt_at=now(),
    )
    session.add(again)
    session.flush()
    return again


def forget(session: Session, settings: StoreSettings) -> int:
    """Delete what has ended of the deliveries written more than `webhook_log_days` ago; how many, a few thousand at once."""
    oldest = datetime.now(UTC) - timedelta(days=settings.webhook_log_days)
    row = WebhookDeliveryRow
    old = select(row.id).where(row.id < earliest_id("delivery", oldest), row.finished_at.is_not(None)).limit(5000)
    gone = delete(row).where(row.id.in_(old)).returning(row.id)
    return len(session.scalars(gone, execution_options={"synchronize_session": False}).all())
