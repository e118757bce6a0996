"""The sender against a real receiver: what fails is repeated, what is slow holds up itself alone, nothing is lost."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

import pytest
from receiver import Post, Receiver, answer, receiving
from serving import ROOT, eventually
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from domain.webhooks import WebhookEvent
from store import deliveries, webhooks
from store.database import Database
from store.deliveries import PER_WEBHOOK
from store.settings import StoreSettings
from store.tables import WebhookDeliveryRow

EVERYTHING = list(WebhookEvent)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def post(store_settings: StoreSettings, database: Database) -> Post:
    return Post(store_settings, database)


def test_what_fails_is_repeated_under_the_same_id_until_it_is_received(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BACKOFF_SECONDS", (0.2,) * 8)
    receiver.answer = lambda handler, n: answer(handler, 500 if n < 2 else 200, b"answer %d" % n)
    hook = post.webhook(receiver.url())
    with post.sending():
        delivery = post.test(hook)
        row = post.ended(delivery)
    assert row.status == "delivered"
    got = receiver.requests
    assert len(got) == row.attempts == 3
    assert len({(r.headers["webhook-id"], r.body) for r in got}) == 1
    assert [(e["attempt"], e["status_code"], e["response"]) for e in row.log] == [
        (1, 500, "answer 0"),
        (2, 500, "answer 1"),
        (3, 200, "answer 2"),
    ]
    verifier = Webhook(post.secret(hook))
    for request in got:
        assert verifier.verify(request.body, request.headers) == row.payload
    assert post.hook(hook).failing_since is None


def test_both_secrets_sign_after_a_rotation(post: Post, receiver: Receiver) -> None:
    hook = post.webhook(receiver.url())
    old = post.secret(hook)
    with post.database.write() as session:
        webhooks.rotate(session, hook)
    with post.sending():
        post.ended(post.test(hook))
    (request,) = receiver.requests
    for secret in (old, post.secret(hook)):
        Webhook(secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(webhooks.secret(b"another service", hook, 2)).verify(request.body, request.headers)


def test_gone_disables_and_a_redelivery_after_enabling_arrives(post: Post, receiver: Receiver) -> None:
    receiver.answer = lambda handler, n: answer(handler, 410 if n == 0 else 200)
    hook = post.webhook(receiver.url())
    with post.sending():
        delivery = post.test(hook)
        assert post.ended(delivery).status == "failed"
        assert post.hook(hook).disabled_because == "The receiver answered 410 Gone."
        with post.database.write() as session:
            webhooks.change(session, post.settings, hook, enabled=True)
            again = deliveries.redeliver(session, hook, delivery).id
        assert post.ended(again).status == "delivered"
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


def test_a_receiver_that_never_answers_holds_up_itself_alone(post: Post, receiver: Receiver) -> None:
    """Twenty messages wait for a tenant's dead receiver, older than another tenant's one; that one comes at once, and the dead
    receiver has no more requests to hold on to with three senders than with one."""
    release = threading.Event()
    under_way = []

    def stuck(handler, n: int) -> None:  # type: ignore[no-untyped-def]
        under_way.append(n)
        release.wait(20)
        answer(handler, 204)

    with receiving() as slow:
        slow.answer = stuck
        dead = post.webhook(slow.url(), tenant="slow")
        for _ in range(20):
            post.test(dead, tenant="slow")
        quick = post.webhook(receiver.url(), tenant="quick")
        with post.sending(), post.sending(), post.sending():
            eventually(lambda: len(under_way) >= PER_WEBHOOK, "the dead receiver has all that it gets")
            started = time.monotonic()
            assert post.ended(post.test(quick, tenant="quick")).status == "delivered"
            assert time.monotonic() - started < 5
            assert len(under_way) == PER_WEBHOOK
            release.set()
            slow.wait_for(20)


def test_an_address_that_became_private_is_not_called(post: Post, receiver: Receiver) -> None:
    hook = post.webhook(receiver.url())
    post.settings.webhook_allow_private = [ipaddress.IPv4Network("10.0.0.0/8")]
    with post.sending():
        delivery = post.test(hook)
        row = eventually(lambda: row if (row := post.row(delivery)).log else None, "an attempt is recorded", 20)
    assert receiver.requests == []
    assert row.status == "pending"
    assert "not public" in row.log[0]["error"]


def test_many_senders_send_each_message_once(post: Post, receiver: Receiver) -> None:
    hook = post.webhook(receiver.url())
    ids = [post.test(hook) for _ in range(30)]
    with post.sending(), post.sending(), post.sending():
        for delivery in ids:
            assert post.ended(delivery).status == "delivered"
    assert len(receiver.requests) == 30
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 30


def test_a_sender_that_is_killed_before_it_could_record_sends_again(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own sends, and is killed when the message has arrived and before it is written down."""
    hook = post.webhook(receiver.url())
    delivery = post.test(hook)
    program = """
        import sys, time
        from store import deliveries
        from store.database import Database
        from store.settings import StoreSettings
        from worker.webhooks import Sender

        deliveries.CLAIM_SECONDS = 1.0
        deliveries.record = lambda *_, **__: time.sleep(60)
        settings = StoreSettings.model_validate_json(sys.argv[1])
        sender = Sender(settings, Database(settings))
        sender.start()
        sender.join()
    """
    document = post.settings.model_dump_json()
    killed = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), document], cwd=ROOT)
    try:
        receiver.wait_for(1)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
    assert post.row(delivery).status == "pending"
    with post.sending():
        row = post.ended(delivery)
    first, second = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)
    Webhook(post.secret(hook)).verify(second.body, second.headers)
    assert (row.status, row.attempts) == ("delivered", 2)
    assert "ended before it knew the answer" in row.log[0]["error"]


def test_a_sender_survives_a_round_that_fails_and_stops_at_once(
    post: Post, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.webhooks.RETRY_SECONDS", 0.1)
    broken = iter([RuntimeError("a bug")])
    due = deliveries.due

    def failing_once(*args, **options):  # type: ignore[no-untyped-def]
        for error in broken:
            raise error
        return due(*args, **options)

    monkeypatch.setattr(deliveries, "due", failing_once)
    with post.sending() as sender:
        assert post.ended(post.test(post.webhook(receiver.url()))).status == "delivered"
        started = time.monotonic()
        sender.stop()
        assert time.monotonic() - started < 1.5


def test_the_body_is_what_was_promised(post: Post, receiver: Receiver) -> None:
    hook = post.webhook(receiver.url())
    with post.sending():
        row = post.ended(post.test(hook))
    assert json.loads(receiver.requests[0].body) == row.payload
    with post.database.read() as session:
        (stored,) = session.scalars(select(WebhookDeliveryRow)).all()
    assert set(stored.payload) == {"type", "timestamp", "data"}
    assert stored.payload["type"] == "webhook.test"
