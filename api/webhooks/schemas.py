"""Webhooks and their deliveries as callers send and see them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, field_validator, model_validator

from domain.base import Document, Instant, Spec
from domain.webhooks import MAX_URL_LENGTH, DeliveryStatus, WebhookEvent
from store.tables import WebhookDeliveryRow, WebhookRow

_URL = "Where messages are posted: https, on a public address, without user name and password."
_EVENTS = "What is told."

Url = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH)]
Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=20)]
Description = Annotated[str, Field(max_length=200)]


def _plain(text: str | None) -> str | None:
    if text is not None and not text.isprintable():
        raise ValueError("must be printable text")
    return text


class WebhookIn(Spec):
    """A webhook to be made."""

    url: Url = Field(description=_URL)
    events: Events = Field(default=list(WebhookEvent), description=_EVENTS + " By default everything.")
    description: Description | None = Field(default=None, description="For whoever reads the list.")

    _printable = field_validator("description")(_plain)


class WebhookChange(Spec):
    """What is to be different; what is left away stays as it is."""

    url: Url = Field(default="", description=_URL)
    events: Events = Field(default=[], description=_EVENTS)
    description: Description | None = Field(default=None, description="null takes it away.")
    enabled: StrictBool = Field(default=True, description="false: nothing is sent; true: switched on again.")

    _printable = field_validator("description")(_plain)

    @model_validator(mode="after")
    def _something(self) -> WebhookChange:
        if not self.model_fields_set:
            raise ValueError("name at least one of url, events, description, enabled")
        return self


class WebhookOut(Document):
    """A webhook. Its secret is shown when it is made and when it is rotated, and never again."""

    id: str
    url: str
    events: list[WebhookEvent]
    description: str | None
    enabled: bool
    disabled_at: Instant | None
    disabled_because: str | None = Field(description="Why it is not enabled: by its owner, or by the service.")
    failing_since: Instant | None = Field(description="Since when nothing could be delivered; null when all is well.")
    rotated_at: Instant | None = Field(description="When the secret was last changed.")
    created_at: Instant

    @classmethod
    def fields_of(cls, row: WebhookRow) -> dict[str, Any]:
        names = ("id", "url", "description", "disabled_at", "disabled_because", "failing_since", "rotated_at")
        return {
            **{name: getattr(row, name) for name in names},
            "events": [WebhookEvent(event) for event in row.events],
            "enabled": row.disabled_at is None,
            "created_at": row.created_at,
        }

    @classmethod
    def of(cls, row: WebhookRow) -> WebhookOut:
        return cls(**cls.fields_of(row))


class WebhookWithSecret(WebhookOut):
    """A webhook with the secret that verifies its messages: keep it, it is not shown again."""

    secret: str = Field(
        description="`whsec_` and a key in Base64, as the libraries of Standard Webhooks take it.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3Pj+ZqYkq0A="],
    )


class DeliveryAttempt(Document):
    """One request that was made to deliver a message, or why none was made."""

    at: Instant
    attempt: int | None = Field(description="Counts from 1; null where nothing was sent.")
    status_code: int | None = Field(description="Status of the answer; null when there was none.")
    seconds: float | None = Field(description="How long it took.")
    error: str | None = Field(description="Why the message does not count as received.")
    response: str | None = Field(description="The beginning of the answer's body.")


class DeliveryOut(Document):
    """A message to a webhook, and what came of it."""

    id: str
    webhook_id: str
    message_id: str = Field(description="`webhook-id` of the message: the same in every repetition.")
    event: WebhookEvent | Literal["webhook.test"]
    status: DeliveryStatus
    attempts: int
    next_attempt_at: Instant | None
    created_at: Instant
    finished_at: Instant | None
    payload: dict[str, Any] = Field(description="The body that is sent.")
    log: list[DeliveryAttempt] = Field(description="The attempts, oldest first; the newest 20.")

    @classmethod
    def of(cls, row: WebhookDeliveryRow) -> DeliveryOut:
        names = [name for name in cls.model_fields if name != "log"]
        values = {name: getattr(row, name) for name in names}
        return cls(**values, log=[DeliveryAttempt.model_validate(entry) for entry in row.log])
