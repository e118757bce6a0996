"""Webhooks in the store: messages written with their event, claimed by one sender, recorded, repeated, given up."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from domain.errors import InvalidParameters, NotFound
from domain.jobs import ErrorCode, JobError
from domain.webhooks import DeliveryStatus, WebhookEvent
from store import deliveries, jobs, leases, webhooks
from store.clock import now
from store.deliveries import BACKOFF_SECONDS, PER_WEBHOOK, Attempt
from store.tables import WebhookDeliveryRow, WebhookRow

SECRET = b"s" * 32
EVERYTHING = list(WebhookEvent)
GOOD = Attempt("delivered", 0.1, status_code=204)
BAD = Attempt("refused", 0.2, status_code=500, error="The receiver answered 500.", response="oh")


class Outbox:
    """Short words for what the tests do over and over."""

    def __init__(self, world) -> None:  # type: ignore[no-untyped-def]
        self.world, self.database, self.settings = world, world.database, world.settings

    def webhook(self, events=EVERYTHING, *, tenant: str = "default") -> str:  # type: ignore[no-untyped-def]
        with self.database.write() as session:
            url = "https://hooks.example.org/a"
            return webhooks.add(session, self.settings, url=url, events=events, tenant=tenant).id

    def test(self, webhook_id: str) -> str:
        with self.database.write() as session:
            return webhooks.send_test(session, webhook_id).id

    def rows(self) -> list[WebhookDeliveryRow]:
        with self.database.read() as session:
            return list(session.scalars(select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.id)))

    def row(self, delivery_id: str) -> WebhookDeliveryRow:
        with self.database.read() as session:
            return session.get_one(WebhookDeliveryRow, delivery_id)

    def hook(self, webhook_id: str) -> WebhookRow:
        with self.database.read() as session:
            return session.get_one(WebhookRow, webhook_id)

    def due(self) -> list[str]:
        with self.database.read() as session:
            return [found.id for found in deliveries.due(session)]

    def claim(self, delivery_id: str) -> deliveries.Claimed | None:
        with self.database.write() as session:
            return deliveries.claim(session, SECRET, delivery_id)

    def record(self, claimed: deliveries.Claimed, attempt: Attempt) -> deliveries.Recorded | None:
        with self.database.write() as session:
            return deliveries.record(session, self.settings, claimed, attempt)

    def sent(self, delivery_id: str, attempt: Attempt) -> deliveries.Recorded | None:
        claimed = self.claim(delivery_id)
        assert claimed is not None
        return self.record(claimed, attempt)

    def make_due(self, delivery_id: str) -> None:
        with self.database.write() as session:
            row = WebhookDeliveryRow
            session.execute(update(row).where(row.id == delivery_id).values(next_attempt_at=now(-1)))


@pytest.fixture
def outbox(world) -> Outbox:  # type: ignore[no-untyped-def]
    return Outbox(world)


def test_the_end_of_a_job_is_written_to_those_who_ask_for_it(outbox: Outbox, world, make_analysis) -> None:
    everything, successes, failures = (
        outbox.webhook(),
        outbox.webhook([WebhookEvent.JOB_SUCCEEDED]),
        outbox.webhook([WebhookEvent.JOB_FAILED]),
    )
    outbox.webhook(tenant="another")
    off = outbox.webhook()
    with world.database.write() as session:
        webhooks.change(session, world.settings, off, enabled=False)
    job_id = world.submit()
    lease = world.claim(job_id)
    assert outbox.rows() == []
    analysis = make_analysis()
    with world.database.write() as session:
        leases.finish(session, lease, analysis)
    rows = outbox.rows()
    assert {row.webhook_id for row in rows} == {everything, successes}
    assert failures not in {row.webhook_id for row in rows}
    assert len({row.message_id for row in rows}) == 1, "one message, told to two"
    job = world.job(job_id)
    payload = rows[0].payload
    assert payload["type"] == rows[0].event == "job.succeeded"
    assert datetime.fromisoformat(payload["timestamp"]) == job.finished_at
    assert payload["data"] == {
        "id": job_id,
        "href": f"/v1/jobs/{job_id}",
        "kind": "lyapunov",
        "status": "succeeded",
        "series_id": job.series_id,
        "model_id": None,
        "result": {"type": "analysis", "id": analysis.id, "href": f"/v1/analyses/{analysis.id}"},
        "error": None,
        "metadata": {},
    }


def test_failures_and_cancellations_are_told_too_and_a_rolled_back_end_is_not(outbox: Outbox, world) -> None:
    outbox.webhook()
    canceled, failed, undone = world.submit(), world.submit(), world.submit()
    with world.database.write() as session:
        jobs.cancel(session, canceled)
    error = JobError(code=ErrorCode.DIVERGED, detail="It diverged.", retryable=False)
    lease = world.claim(failed)
    with world.database.write() as session:
        leases.fail(session, lease, error)
    with pytest.raises(RuntimeError, match="undone"), world.database.write() as session:  # noqa: PT012
        jobs.cancel(session, undone)
        raise RuntimeError("undone")
    told = {row.payload["data"]["id"]: row for row in outbox.rows()}
    assert {job_id: row.event for job_id, row in told.items()} == {canceled: "job.canceled", failed: "job.failed"}
    assert told[failed].payload["data"]["error"] == error.model_dump(mode="json")


def test_one_sender_takes_a_delivery_and_its_outcome_is_kept(outbox: Outbox) -> None:
    hook = outbox.webhook()
    delivery = outbox.test(hook)
    assert outbox.due() == [delivery]
    claimed = outbox.claim(delivery)
    assert claimed is not None
    assert (outbox.due(), outbox.claim(delivery)) == ([], None), "it is in somebody's hand"
    row = outbox.row(delivery)
    assert json.loads(claimed.body) == row.payload
    assert (claimed.message_id, claimed.url) == (row.message_id, "https://hooks.example.org/a")
    recorded = outbox.record(claimed, GOOD)
    assert recorded is not None
    assert recorded.status == DeliveryStatus.DELIVERED
    assert 0 <= (recorded.age_seconds or -1) < 30
    assert outbox.record(claimed, BAD) is None, "recorded once"
    row = outbox.row(delivery)
    assert (row.status, row.attempts, row.next_attempt_at, row.token) == ("delivered", 1, None, None)
    (entry,) = row.log
    assert (entry["attempt"], entry["status_code"], entry["seconds"], entry["error"]) == (1, 204, 0.1, None)


def test_of_many_senders_one_gets_it_and_none_a_place_too_many(outbox: Outbox) -> None:
    hook = outbox.webhook()
    ids = [outbox.test(hook) for _ in range(10)]
    with ThreadPoolExecutor(4) as pool:
        claimed = [c for found in pool.map(lambda _: [outbox.claim(id) for id in ids], range(4)) for c in found]
    got = [c.id for c in claimed if c is not None]
    assert len(got) == len(set(got)) == PER_WEBHOOK


def test_a_sender_that_dies_loses_its_claim_and_the_message_keeps_its_id(outbox: Outbox) -> None:
    delivery = outbox.test(outbox.webhook())
    first = outbox.claim(delivery)
    outbox.make_due(delivery)
    second = outbox.claim(delivery)
    assert first is not None
    assert second is not None
    assert (first.message_id, first.body) == (second.message_id, second.body)
    assert outbox.record(first, GOOD) is None, "whoever lost the claim writes nothing"
    assert outbox.record(second, GOOD) is not None
    lost, good = outbox.row(delivery).log
    assert (lost["attempt"], good["attempt"], good["status_code"]) == (1, 2, 204)
    assert "before it knew the answer" in lost["error"]


def test_failed_attempts_are_repeated_at_growing_pauses_and_then_given_up(outbox: Outbox) -> None:
    hook = outbox.webhook()
    delivery = outbox.test(hook)
    for n, pause in enumerate(BACKOFF_SECONDS, 1):
        recorded = outbox.sent(delivery, BAD)
        assert recorded is not None
        assert recorded.status == DeliveryStatus.PENDING
        row = outbox.row(delivery)
        wait = (row.next_attempt_at - datetime.now(UTC)).total_seconds()
        assert row.attempts == n
        assert 0.8 * pause - 20 < wait < 1.2 * pause + 20
        outbox.make_due(delivery)
    recorded = outbox.sent(delivery, BAD)
    assert recorded is not None
    assert recorded.status == DeliveryStatus.FAILED
    row = outbox.row(delivery)
    assert (row.attempts, row.next_attempt_at) == (9, None)
    assert [entry["status_code"] for entry in row.log] == [500] * 9
    assert outbox.hook(hook).disabled_at is None, "the message is given up, not the webhook"
    assert outbox.hook(hook).failing_since is not None
    again = outbox.test(hook)
    outbox.sent(again, GOOD)
    assert outbox.hook(hook).failing_since is None


def test_a_lost_last_attempt_ends_the_delivery(outbox: Outbox) -> None:
    delivery = outbox.test(outbox.webhook())
    for _ in range(9):
        assert outbox.claim(delivery) is not None
        outbox.make_due(delivery)
    assert outbox.claim(delivery) is None
    row = outbox.row(delivery)
    assert (row.status, row.attempts, row.next_attempt_at) == ("failed", 9, None)


def test_pauses_are_spread_and_a_receiver_may_ask_for_more() -> None:
    pauses = [deliveries.pause_after(1) for _ in range(200)]
    assert 4 <= min(pauses) < max(pauses) <= 6
    assert deliveries.pause_after(1, 100) == 100
    assert deliveries.pause_after(1, 10**6) == 3600


def test_a_receiver_that_is_gone_or_dead_for_days_disables_its_webhook(outbox: Outbox) -> None:
    gone, dead = outbox.webhook(), outbox.webhook()
    waiting, answered = outbox.test(gone), outbox.test(gone)
    outbox.sent(answered, Attempt("refused", 0.1, status_code=410, error="410", gone=True))
    assert outbox.hook(gone).disabled_because == "The receiver answered 410 Gone."
    assert outbox.claim(waiting) is None
    row = outbox.row(waiting)
    assert (row.status, row.attempts) == ("failed", 0)
    assert "410 Gone" in row.log[0]["error"]
    with outbox.database.write() as session, pytest.raises(webhooks.WebhookDisabled, match="410 Gone"):
        webhooks.send_test(session, gone)

    delivery = outbox.test(dead)
    outbox.sent(delivery, BAD)
    with outbox.database.write() as session:
        since = datetime.now(UTC) - timedelta(days=outbox.settings.webhook_disable_days, seconds=1)
        session.execute(update(WebhookRow).where(WebhookRow.id == dead).values(failing_since=since))
    outbox.make_due(delivery)
    outbox.sent(delivery, BAD)
    assert "Nothing could be delivered since" in (outbox.hook(dead).disabled_because or "")
    with outbox.database.write() as session:
        row = webhooks.change(session, outbox.settings, dead, enabled=True)
    assert (row.disabled_at, row.disabled_because, row.failing_since) == (None, None, None)


def test_a_message_is_sent_again_under_its_id(outbox: Outbox) -> None:
    hook = outbox.webhook()
    delivery = outbox.test(hook)
    outbox.sent(delivery, BAD)
    assert outbox.due() == []
    with outbox.database.write() as session:
        hastened = deliveries.redeliver(session, hook, delivery)
    assert hastened.id == delivery
    assert outbox.due() == [delivery]
    claimed = outbox.claim(delivery)
    with outbox.database.write() as session:
        deliveries.redeliver(session, hook, delivery)
    assert outbox.due() == [], "whoever sends it keeps its claim"
    assert claimed is not None
    outbox.record(claimed, GOOD)
    with outbox.database.write() as session:
        again = deliveries.redeliver(session, hook, delivery)
    assert again.id != delivery
    assert again.message_id == outbox.row(delivery).message_id
    assert outbox.due() == [again.id]


def test_a_webhook_and_a_tenant_have_few_places_whoever_sends(outbox: Outbox) -> None:
    hooks = [outbox.webhook() for _ in range(3)]
    of = {hook: [outbox.test(hook) for _ in range(6)] for hook in hooks}
    first, second, third = (of[hook] for hook in hooks)
    assert outbox.due() == [*first[:PER_WEBHOOK], *second[:PER_WEBHOOK]], "which fills the tenant"
    claimed = [outbox.claim(delivery) for delivery in first]
    assert [one is not None for one in claimed] == [True] * PER_WEBHOOK + [False] * 2
    assert outbox.due() == second[:PER_WEBHOOK]
    assert all(outbox.claim(delivery) for delivery in second[:PER_WEBHOOK])
    assert outbox.due() == []
    assert outbox.claim(third[0]) is None, "eight places of a tenant are taken"
    assert claimed[0] is not None
    outbox.record(claimed[0], GOOD)
    assert outbox.due() == [first[PER_WEBHOOK]], "the longest overdue is next"
    outbox.make_due(first[1])  # its sender was lost
    assert outbox.due() == [first[1], first[PER_WEBHOOK]]


def test_secrets_are_derived_and_two_sign_after_a_rotation(outbox: Outbox) -> None:
    hook = outbox.webhook()
    row = outbox.hook(hook)
    secret = webhooks.secret(SECRET, hook, 1)
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert webhooks.signing_secrets(SECRET, row, datetime.now(UTC)) == [secret]
    with outbox.database.write() as session:
        row = webhooks.rotate(session, hook)
    new = webhooks.secret(SECRET, hook, 2)
    assert webhooks.signing_secrets(SECRET, row, datetime.now(UTC)) == [new, secret]
    later = datetime.now(UTC) + timedelta(hours=25)
    assert webhooks.signing_secrets(SECRET, row, later) == [new]
    assert len({webhooks.secret(*a) for a in ((SECRET, hook, 1), (SECRET, "other", 1), (b"t" * 32, hook, 1))}) == 3


def test_bad_urls_and_too_many_webhooks_are_refused(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    with outbox.database.write() as session:
        for url in ("http://example.org", "https://10.0.0.1/", "https://u:p@example.org/"):
            with pytest.raises(InvalidParameters):
                webhooks.add(session, outbox.settings, url=url, events=EVERYTHING)
    monkeypatch.setattr(webhooks, "MAX_WEBHOOKS", 2)
    outbox.webhook()
    outbox.webhook()
    outbox.webhook(tenant="another")
    with pytest.raises(webhooks.TooManyWebhooks):
        outbox.webhook()


def test_tenants_do_not_meet_and_a_deleted_webhook_takes_its_deliveries_along(outbox: Outbox) -> None:
    hook = outbox.webhook()
    delivery = outbox.test(hook)
    with outbox.database.write() as session:
        for look in (
            lambda: webhooks.get(session, hook, tenant="another"),
            lambda: webhooks.change(session, outbox.settings, hook, tenant="another", enabled=False),
            lambda: webhooks.rotate(session, hook, tenant="another"),
            lambda: webhooks.delete(session, hook, tenant="another"),
            lambda: webhooks.send_test(session, hook, tenant="another"),
            lambda: deliveries.list_page(session, hook, tenant="another"),
            lambda: deliveries.get(session, hook, delivery, tenant="another"),
            lambda: deliveries.redeliver(session, hook, delivery, tenant="another"),
            lambda: deliveries.get(session, hook, "dlv_0"),
        ):
            with pytest.raises(NotFound):
                look()
    claimed = outbox.claim(delivery)
    assert claimed is not None
    with outbox.database.write() as session:
        webhooks.delete(session, hook)
    assert outbox.rows() == []
    assert outbox.record(claimed, GOOD) is None


def test_old_deliveries_are_forgotten_once_they_have_ended(outbox: Outbox) -> None:
    hook = outbox.webhook()
    ended, pending, young = outbox.test(hook), outbox.test(hook), outbox.test(hook)
    outbox.sent(ended, GOOD)
    outbox.sent(young, GOOD)
    with outbox.database.write() as session:
        for id in (ended, pending):
            old = "dlv_00000000000" + id[-21:]
            session.execute(update(WebhookDeliveryRow).where(WebhookDeliveryRow.id == id).values(id=old))
        assert deliveries.forget(session, outbox.settings) == 1
        assert session.scalar(select(func.count()).select_from(WebhookDeliveryRow)) == 2
        assert deliveries.forget(session, outbox.settings) == 0


@pytest.mark.parametrize("work", ["announce", "test", "rotate", "change", "redeliver"])
def test_a_webhook_that_is_deleted_in_this_moment_is_not_found(outbox: Outbox, world, work: str) -> None:
    """The deletion is not committed yet when the other transaction begins: it waits, and then finds nothing."""
    hook = outbox.webhook()
    delivery, job_id = outbox.test(hook), world.submit()
    actions = {
        "announce": lambda session: jobs.cancel(session, job_id),
        "test": lambda session: webhooks.send_test(session, hook),
        "rotate": lambda session: webhooks.rotate(session, hook),
        "change": lambda session: webhooks.change(session, outbox.settings, hook, enabled=False),
        "redeliver": lambda session: deliveries.redeliver(session, hook, delivery),
    }

    def act() -> None:
        with outbox.database.write() as session:
            actions[work](session)

    with ThreadPoolExecutor(1) as pool:
        with outbox.database.write() as session:
            webhooks.delete(session, hook)
            acting = pool.submit(act)
            time.sleep(0.2)
        if work == "announce":
            acting.result(20)
            assert world.job(job_id).status == "canceled", "a job ends whatever happens to webhooks"
        else:
            with pytest.raises(NotFound):
                acting.result(20)
    assert outbox.rows() == []


def test_a_deletion_waits_for_who_is_sending(outbox: Outbox) -> None:
    """A claim changes its delivery twice, the deletion wants webhook and delivery: in one order, or they would wait for
    each other."""
    hook = outbox.webhook()
    delivery = outbox.test(hook)

    def delete() -> None:
        with outbox.database.write() as session:
            webhooks.delete(session, hook)

    with ThreadPoolExecutor(1) as pool:
        with outbox.database.write() as session:
            claimed = deliveries.claim(session, SECRET, delivery)
            assert claimed is not None
            deleting = pool.submit(delete)
            time.sleep(0.2)
            deliveries.record(session, outbox.settings, claimed, GOOD)
        deleting.result(20)
    assert outbox.rows() == []
