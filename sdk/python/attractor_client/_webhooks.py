"""Webhooks: being told when a job ends. What a message looks like and how it is verified: docs/guides/webhooks.md of the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec

from attractor_client._documents import build
from attractor_client._operations import Bound, Listing, operation
from attractor_client._protocol import Policy, Request, Steps, call, page_after_page

P = ParamSpec("P")
_Function = Callable[Concatenate[Any, P], Steps[Any]]


@dataclass(frozen=True)
class Webhook:
    """Where messages go. `secret` is there when the webhook was just made or its secret changed, and never again."""

    id: str
    url: str
    events: list[str]
    created_at: datetime
    enabled: bool = True
    description: str | None = None
    disabled_because: str | None = None
    failing_since: datetime | None = None
    secret: str | None = field(default=None, repr=False)
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Delivery:
    """A message to a webhook, and what came of it; `raw["log"]` has every attempt."""

    id: str
    webhook_id: str
    message_id: str
    event: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None = None
    raw: dict[str, Any] = field(default_factory=dict, repr=False)


def _webhooks(function: _Function[P]) -> Listing[P, Webhook, Webhook]:
    return Listing(function)


def _deliveries(function: _Function[P]) -> Listing[P, Delivery, Delivery]:
    return Listing(function)


class WebhookCalls(Bound):
    """`webhook`: a Webhook or its id."""

    @operation
    def create_webhook(
        self, url: str, *, events: Sequence[str] | None = None, description: str | None = None
    ) -> Steps[Webhook]:
        """Have messages posted to `url`; `events` among job.succeeded, job.failed, job.canceled, by default all.

        Not repeated when its answer is lost: there would be two.
        """
        given = {"url": url, "events": None if events is None else list(events), "description": description}
        body = {name: value for name, value in given.items() if value is not None}
        return (yield from _one(self._policy, "POST", "", body, repeatable=False))

    @_webhooks
    def webhooks(self, *, limit: int | None = None) -> Steps[None]:
        """Every webhook, newest first."""
        return page_after_page(self._policy, Request("GET", "/v1/webhooks"), limit, lambda d: build(Webhook, d))

    @operation
    def webhook(self, id: str) -> Steps[Webhook]:
        """One webhook."""
        return (yield from _one(self._policy, "GET", f"/{id}"))

    @operation
    def change_webhook(
        self,
        webhook: Webhook | str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Steps[Webhook]:
        """Change what is given; `enabled=False` stops the messages, True starts them again."""
        named = None if events is None else list(events)
        given = {"url": url, "events": named, "description": description, "enabled": enabled}
        body = {name: value for name, value in given.items() if value is not None}
        return (yield from _one(self._policy, "PATCH", f"/{_id(webhook)}", body))

    @operation
    def rotate_webhook(self, webhook: Webhook | str) -> Steps[Webhook]:
        """The webhook with a new secret; for a day messages carry signatures of both."""
        return (yield from _one(self._policy, "POST", f"/{_id(webhook)}/rotate", repeatable=False))

    @operation
    def test_webhook(self, webhook: Webhook | str) -> Steps[Delivery]:
        """Send a message of type webhook.test."""
        request = Request("POST", f"/v1/webhooks/{_id(webhook)}/test", repeatable=False)
        return build(Delivery, (yield from call(self._policy, request)).document)

    @_deliveries
    def deliveries(self, webhook: Webhook | str, *, limit: int | None = None) -> Steps[None]:
        """Every message of a webhook, newest first."""
        request = Request("GET", f"/v1/webhooks/{_id(webhook)}/deliveries")
        return page_after_page(self._policy, request, limit, lambda d: build(Delivery, d))

    @operation
    def redeliver(self, delivery: Delivery) -> Steps[Delivery]:
        """Send a message that has ended again, under its old id."""
        request = Request("POST", f"/v1/webhooks/{delivery.webhook_id}/deliveries/{delivery.id}/redeliver")
        return build(Delivery, (yield from call(self._policy, request)).document)


def _one(policy: Policy, method: str, path: str, body: Any = None, *, repeatable: bool = True) -> Steps[Webhook]:
    request = Request(method, f"/v1/webhooks{path}", json=body, repeatable=repeatable)
    return build(Webhook, (yield from call(policy, request)).document)


def _id(webhook: Webhook | str) -> str:
    return webhook if isinstance(webhook, str) else webhook.id
