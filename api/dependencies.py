"""What endpoints ask for. Trivial ones are async, so that they cost no hop to the thread pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Path, Request

from api.health.canary import Canary
from api.metrics import Exposition
from api.models.service import ModelLoader
from api.settings import ApiSettings
from domain.errors import NotFound
from domain.ids import PREFIXES, is_id
from domain.keys import Caller, Principal
from store.blobs import Blobs
from store.database import Database
from store.queue import Announcer
from store.tables import JobRow


@dataclass(frozen=True)
class Services:
    """What lives as long as the process; made in `api.app`."""

    settings: ApiSettings
    database: Database
    blobs: Blobs
    announcer: Announcer
    load_model: ModelLoader
    canary: Canary
    exposition: Exposition

    def publish(self, job: JobRow) -> None:
        """Wake a worker for a job, after the commit; the sweep repeats what the broker has lost."""
        self.announcer.announce(job.id, job.queue)


async def _services(request: Request) -> Services:
    return request.app.state.services


async def _settings(request: Request) -> ApiSettings:
    return request.app.state.services.settings


async def _database(request: Request) -> Database:
    return request.app.state.services.database


async def _blobs(request: Request) -> Blobs:
    return request.app.state.services.blobs


async def _caller(request: Request) -> Caller:
    """Who sends the request; `api.auth.access` has let them in, or nobody is served."""
    return request.state.caller


async def _principal(request: Request) -> Principal:
    return request.state.caller.principal


async def _tenant(request: Request) -> str:
    """Whose data the request may see."""
    return request.state.caller.principal.tenant


ServicesDep = Annotated[Services, Depends(_services)]
SettingsDep = Annotated[ApiSettings, Depends(_settings)]
DatabaseDep = Annotated[Database, Depends(_database)]
BlobsDep = Annotated[Blobs, Depends(_blobs)]
CallerDep = Annotated[Caller, Depends(_caller)]
PrincipalDep = Annotated[Principal, Depends(_principal)]
TenantDep = Annotated[str, Depends(_tenant)]


def checked(resource: str) -> Callable[..., object]:
    """A dependency that answers the id in the path, or refuses one that no such resource can have."""
    example = f"{PREFIXES[resource]}_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"

    async def checked(id: str = Path(description=f"Id of the {resource}.", examples=[example])) -> str:
        if not is_id(id, resource):
            raise unknown(resource, id)
        return id

    return checked


def unknown(resource: str, id: str) -> NotFound:
    return NotFound(f"There is no {resource} {id[:60]!r}.")


SeriesId = Annotated[str, Depends(checked("series"))]
JobId = Annotated[str, Depends(checked("job"))]
AnalysisId = Annotated[str, Depends(checked("analysis"))]
ModelId = Annotated[str, Depends(checked("model"))]
ForecastId = Annotated[str, Depends(checked("forecast"))]
KeyId = Annotated[str, Depends(checked("key"))]
EvaluationId = Annotated[str, Depends(checked("evaluation"))]
WebhookId = Annotated[str, Depends(checked("webhook"))]
