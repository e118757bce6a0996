"""Endpoints of keys: who calls, a tenant's keys, and what was done with them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.openapi.models import Example

from api.dependencies import CallerDep, DatabaseDep, KeyId, PrincipalDep, ServicesDep, TenantDep
from api.errors import problem_responses
from api.keys.schemas import AuditEventOut, KeyOut, KeyRequest, Me, NewKeyOut, Quotas, RotationRequest, Usage
from api.pagination import Cursor, Limit, PageOut
from api.validation import StrictRoute
from domain.documents import href
from domain.errors import InsufficientScope
from domain.keys import WORK, Scope
from store import audit, keys, tenants
from store.secrets import service_secret

router = APIRouter(prefix="/v1", tags=["keys"], route_class=StrictRoute)
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "Path of the key."}}
_NEW = {
    "work": Example(summary="For all of the tenant's work", value={"name": "notebook"}),
    "reader": Example(
        summary="To read results, for a month",
        value={"name": "dashboard", "scopes": ["results:read", "jobs:read"], "expires_days": 30},
    ),
}
_ROTATION = {"soon": Example(summary="The old key is valid for two more hours", value={"overlap_hours": 2})}


@router.get("/me", operation_id="get_me", summary="Who am I?")
def get_me(services: ServicesDep, principal: PrincipalDep) -> Me:
    """The tenant and the key of this request, what it allows, and what of the tenant's quotas is in use."""
    with services.database.read() as session:
        row = None
        if principal.key_id is not None:
            row = keys.get(session, principal.key_id, tenant=principal.tenant)
        quota = tenants.quota(session, services.settings, principal.tenant)
        usage = tenants.usage(session, principal.tenant)
    return Me(
        tenant=principal.tenant,
        key=None if row is None else KeyOut.of(row),
        scopes=sorted(principal.scopes),
        quotas=Quotas.model_validate(quota, from_attributes=True),
        usage=Usage.model_validate(usage, from_attributes=True),
    )


@router.post(
    "/keys",
    operation_id="create_key",
    summary="Make a key",
    status_code=201,
    responses={201: {"headers": _LOCATION}, **problem_responses(400, 403, 413, 415, 422)},
)
def create_key(
    request: Annotated[KeyRequest, Body(openapi_examples=_NEW)],
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
) -> NewKeyOut:
    """A key of your own tenant. Only this answer shows it. Scopes that say something about the whole service can only be
    given by a key that has them.
    """
    for scope in request.scopes:
        if scope not in (*WORK, Scope.ADMIN) and scope not in caller.principal.scopes:
            raise InsufficientScope(f"A key that lacks the scope {scope} cannot give it to another.", scope)
    with services.database.write() as session:
        made = keys.create(
            session,
            service_secret(services.settings),
            caller,
            tenant=caller.principal.tenant,
            name=request.name,
            scopes=set(request.scopes),
            expires_days=request.expires_days,
        )
    return _shown_once(made, response)


@router.get("/keys", operation_id="list_keys", summary="List keys, newest first", responses=problem_responses(400, 422))
def list_keys(database: DatabaseDep, tenant: TenantDep, cursor: Cursor = None, limit: Limit = 50) -> PageOut[KeyOut]:
    """Also those that are revoked or expired."""
    with database.read() as session:
        page = keys.list_page(session, tenant=tenant, cursor=cursor, limit=limit)
    return PageOut(data=[KeyOut.of(row) for row in page.items], next_cursor=page.next_cursor)


@router.get("/keys/{id}", operation_id="get_key", summary="Get a key", responses=problem_responses(404))
def get_key(id: KeyId, database: DatabaseDep, tenant: TenantDep) -> KeyOut:
    """What it allows, when it was used last, and whether it is still valid."""
    with database.read() as session:
        return KeyOut.of(keys.get(session, id, tenant=tenant))


@router.delete(
    "/keys/{id}",
    operation_id="revoke_key",
    summary="Revoke a key",
    responses=problem_responses(404),
)
def revoke_key(id: KeyId, request: Request, database: DatabaseDep, caller: CallerDep) -> KeyOut:
    """At once in this process, within a few seconds in every other. Revoked keys stay in the list."""
    with database.write() as session:
        row = keys.revoke(session, caller, id)
    request.app.state.gate.forget(id)
    return KeyOut.of(row)


@router.post(
    "/keys/{id}/rotate",
    operation_id="rotate_key",
    summary="Replace a key",
    status_code=201,
    responses={201: {"headers": _LOCATION}, **problem_responses(400, 404, 409, 413, 415, 422)},
)
def rotate_key(
    id: KeyId,
    services: ServicesDep,
    caller: CallerDep,
    response: Response,
    request: Annotated[RotationRequest | None, Body(openapi_examples=_ROTATION)] = None,
) -> NewKeyOut:
    """A new key with the same name, scopes and lifetime, shown only here. The old one stays valid for `overlap_hours`, so
    that programs can be changed meanwhile. 409 for a key that is revoked or expired.
    """
    hours = (request or RotationRequest()).overlap_hours
    with services.database.write() as session:
        made = keys.rotate(session, service_secret(services.settings), caller, id, overlap_hours=hours)
    return _shown_once(made, response)


@router.get(
    "/audit-events",
    operation_id="list_audit_events",
    summary="List audit events, newest first",
    responses=problem_responses(400, 422),
)
def list_audit_events(
    database: DatabaseDep,
    tenant: TenantDep,
    action: Annotated[str | None, Query(max_length=60, description="Only events of this action.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> PageOut[AuditEventOut]:
    """What was done with the tenant's keys, series, jobs and results, and what was refused. Refusals are thinned: the first
    of a kind in a minute.
    """
    with database.read() as session:
        page = audit.list_page(session, tenant=tenant, action=action, cursor=cursor, limit=limit)
    return PageOut(data=[AuditEventOut.of(row) for row in page.items], next_cursor=page.next_cursor)


def _shown_once(made: keys.Made, response: Response) -> NewKeyOut:
    response.headers["Location"] = href("key", made.row.id)
    response.headers["Cache-Control"] = "no-store"
    return NewKeyOut(**KeyOut.of(made.row).model_dump(), key=made.text)
