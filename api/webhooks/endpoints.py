"""Endpoints of webhooks: where a tenant is told that its jobs have ended."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, Response

from api.dependencies import CallerDep, DatabaseDep, ServicesDep, TenantDep, WebhookId, unknown
from api.errors import pointing_to, problem_responses
from api.pagination import Cursor, Limit, PageOut
from api.settings import ApiSettings
from api.validation import StrictRoute
from api.webhooks import examples
from api.webhooks.schemas import DeliveryOut, WebhookChange, WebhookIn, WebhookOut, WebhookWithSecret
from domain.documents import href
from domain.errors import InvalidParameters
from domain.ids import is_id
from domain.webhooks import DeliveryStatus
from store import audit, deliveries, webhooks
from store.secrets import service_secret
from store.tables import WebhookRow

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=StrictRoute)
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Path of the webhook."}}


async def _delivery_id(
    delivery_id: str = Path(description="Id of the delivery.", examples=["dlv_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"]),
) -> str:
    if not is_id(delivery_id, "delivery"):
        raise unknown("delivery", delivery_id)
    return delivery_id


DeliveryId = Annotated[str, Depends(_delivery_id)]


def _with_secret(settings: ApiSettings, row: WebhookRow) -> WebhookWithSecret:
    secret = webhooks.secret(service_secret(settings), row.id, row.secret_generation)
    return WebhookWithSecret(**WebhookOut.fields_of(row), secret=secret)


@router.post(
    "",
    operation_id="create_webhook",
    summary="Be told when jobs end",
    status_code=201,
    responses={201: {"headers": _LOCATION}, **problem_responses(400, 409, 413, 415, 422)},
)
def create_webhook(
    request: Annotated[WebhookIn, Body(openapi_examples=examples.NEW)],
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
) -> WebhookWithSecret:
    """Messages are posted as JSON and signed as Standard Webhooks has it, with the `secret` that only this answer shows:
    verify them. Each arrives at least once, with the same `webhook-id` in every repetition; whatever is not answered with
    200 to 299 within 15 s is repeated for a day and a half. Redirects are not followed.
    """
    with services.database.write() as session, pointing_to("/url", InvalidParameters):
        row = webhooks.add(
            session,
            services.settings,
            url=request.url,
            events=request.events,
            description=request.description,
            tenant=caller.principal.tenant,
        )
        audit.record(session, caller, "webhook.created", target=row.id)
    response.headers["Location"] = href("webhook", row.id)
    return _with_secret(services.settings, row)


@router.get(
    "", operation_id="list_webhooks", summary="List webhooks, newest first", responses=problem_responses(400, 422)
)
def list_webhooks(
    database: DatabaseDep, tenant: TenantDep, cursor: Cursor = None, limit: Limit = 50
) -> PageOut[WebhookOut]:
    """Without their secrets."""
    with database.read() as session:
        page = webhooks.list_page(session, tenant=tenant, cursor=cursor, limit=limit)
    return PageOut(data=[WebhookOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get("/{id}", operation_id="get_webhook", summary="Get a webhook", responses=problem_responses(404))
def get_webhook(id: WebhookId, database: DatabaseDep, tenant: TenantDep) -> WebhookOut:
    """Whether it is enabled, since when it fails, and why it was disabled."""
    with database.read() as session:
        return WebhookOut.of(webhooks.get(session, id, tenant=tenant))


@router.patch(
    "/{id}",
    operation_id="change_webhook",
    summary="Change a webhook",
    responses=problem_responses(400, 404, 413, 415, 422),
)
def change_webhook(
    id: WebhookId,
    request: Annotated[WebhookChange, Body(openapi_examples=examples.CHANGES)],
    services: ServicesDep,
    caller: CallerDep,
) -> WebhookOut:
    """The secret stays. What was to be sent while a webhook is disabled is not sent later by itself: see `redeliver`."""
    changes = request.model_dump(exclude_unset=True)
    with services.database.write() as session, pointing_to("/url", InvalidParameters):
        row = webhooks.change(session, services.settings, id, tenant=caller.principal.tenant, **changes)
        audit.record(session, caller, "webhook.changed", target=id, detail={"fields": sorted(changes)})
    return WebhookOut.of(row)


@router.delete(
    "/{id}",
    operation_id="delete_webhook",
    summary="Delete a webhook",
    status_code=204,
    responses=problem_responses(404),
)
def delete_webhook(id: WebhookId, database: DatabaseDep, caller: CallerDep) -> None:
    """Its deliveries go with it, also those that are still to be sent."""
    with database.write() as session:
        webhooks.delete(session, id, tenant=caller.principal.tenant)
        audit.record(session, caller, "webhook.deleted", target=id)


@router.post(
    "/{id}/rotate",
    operation_id="rotate_webhook_secret",
    summary="Give a webhook another secret",
    responses=problem_responses(404),
)
def rotate_webhook_secret(id: WebhookId, services: ServicesDep, caller: CallerDep) -> WebhookWithSecret:
    """Only this answer shows the new secret. For 24 hours messages carry a signature of the one before as well, so that the
    receiver can be changed meanwhile.
    """
    with services.database.write() as session:
        row = webhooks.rotate(session, id, tenant=caller.principal.tenant)
        audit.record(session, caller, "webhook.rotated", target=id)
    return _with_secret(services.settings, row)


@router.post(
    "/{id}/test",
    operation_id="test_webhook",
    summary="Send a test message",
    status_code=202,
    responses=problem_responses(404, 409),
)
def test_webhook(id: WebhookId, database: DatabaseDep, tenant: TenantDep) -> DeliveryOut:
    """A `webhook.test` message, sent and repeated like any other; look at its delivery for what came of it."""
    with database.write() as session:
        return DeliveryOut.of(webhooks.send_test(session, id, tenant=tenant))


@router.get(
    "/{id}/deliveries",
    operation_id="list_webhook_deliveries",
    summary="List what was sent, newest first",
    responses=problem_responses(400, 404, 422),
)
def list_webhook_deliveries(
    id: WebhookId,
    database: DatabaseDep,
    tenant: TenantDep,
    status: Annotated[DeliveryStatus | None, Query(description="Only deliveries in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PageOut[DeliveryOut]:
    """With every attempt: when, how long, what was answered. Kept for 30 days after their end, if not configured otherwise."""
    with database.read() as session:
        page = deliveries.list_page(session, id, tenant=tenant, status=status, cursor=cursor, limit=limit)
    return PageOut(data=[DeliveryOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get(
    "/{id}/deliveries/{delivery_id}",
    operation_id="get_webhook_delivery",
    summary="Get a delivery",
    responses=problem_responses(404),
)
def get_webhook_delivery(
    id: WebhookId, delivery_id: DeliveryId, database: DatabaseDep, tenant: TenantDep
) -> DeliveryOut:
    """One message and its attempts."""
    with database.read() as session:
        return DeliveryOut.of(deliveries.get(session, id, delivery_id, tenant=tenant))


@router.post(
    "/{id}/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver_webhook",
    summary="Send a message again",
    status_code=202,
    responses=problem_responses(404, 409),
)
def redeliver_webhook(id: WebhookId, delivery_id: DeliveryId, database: DatabaseDep, tenant: TenantDep) -> DeliveryOut:
    """Under the same `webhook-id`. A message that is still pending is tried at once; of one that has ended, delivered or
    not, a new delivery is made.
    """
    with database.write() as session:
        return DeliveryOut.of(deliveries.redeliver(session, id, delivery_id, tenant=tenant))
