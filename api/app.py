"""Composition root of the API process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import errors
from api.dependencies import Services
from api.middleware import Envelope
from api.settings import ApiSettings
from store.blobs import Blobs
from store.database import Database
from store.queue import make_celery, publish

WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = """
Dynamical-system reconstruction as a service: upload a time series, get its Lyapunov spectrum, a recurrent network
trained with chaos-tuned teacher forcing, and forecasts that say how far they can be trusted.

Long work is a job: `POST /v1/jobs` answers 202 with a `Location`; follow it by polling, `?wait=` or its event stream.
Every error is an RFC 9457 problem document. Lists are pages: pass `next_cursor` on as `cursor`.
"""


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The ASGI application; one per process."""
    settings = settings or ApiSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings)
        celery = make_celery(settings)
        app.state.services = Services(
            settings=settings,
            database=database,
            blobs=Blobs(settings.blobs_dir),
            publish=lambda job_id: publish(celery, job_id),
        )
        try:
            yield
        finally:
            celery.close()
            database.close()

    app = FastAPI(
        title="attractor",
        version=version("attractor"),
        summary="Dynamical-system reconstruction as a service.",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Envelope)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "ETag", "X-Request-ID", "Preference-Applied"],
        )
    errors.install(app)
    _include(app, settings)
    app.frontend("/", directory=WEB, fallback=None, check_dir=False)
    return app


def _include(app: FastAPI, settings: ApiSettings) -> None:
    """Every router, under the body limit of its kind."""
    uploads = APIRouter(max_body_size=settings.max_upload_bytes)
    documents = APIRouter(max_body_size=settings.max_json_bytes)
    for limited in (uploads, documents):
        app.include_router(limited)
