"""Composition root of the API process."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from api import docs, errors, openapi, storage_errors
from api.analyses.endpoints import router as analyses
from api.auth.access import Access
from api.auth.gate import Gate
from api.capabilities.endpoints import router as capabilities
from api.dependencies import Services
from api.evaluations.endpoints import router as evaluations
from api.figures.endpoints import router as figures
from api.forecasts.endpoints import router as forecasts
from api.heads import Heads
from api.health.canary import Canary
from api.health.endpoints import router as health
from api.jobs.endpoints import router as jobs
from api.keys.endpoints import router as keys
from api.metrics import Exposition
from api.middleware import Envelope
from api.models.endpoints import router as models
from api.models.imports import MAX_BODY_BYTES
from api.models.imports import router as imports
from api.models.service import make_loader
from api.origins import OtherPages
from api.reports.endpoints import router as reports
from api.samples.endpoints import router as samples
from api.series.endpoints import router as series
from api.settings import ApiSettings
from api.telemetry import Telemetry
from api.webhooks.endpoints import router as webhooks
from store.blobs import make_blobs
from store.database import Database
from store.queue import Announcer
from store.tracing import make_tracer

WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = """
Dynamical-system reconstruction as a service: upload a time series, get its Lyapunov spectrum, a recurrent network
trained with chaos-tuned teacher forcing, and forecasts that say how far they can be trusted.

Long work is a job: `POST /v1/jobs` answers 202 with a `Location`; follow it by polling, `?wait=` or its event stream.
Where keys are demanded, send yours as `Authorization: Bearer atr_...`; `GET /v1/me` says whose it is and what it allows.
Where requests are limited, `RateLimit` and `RateLimit-Policy` say what is left of this minute.

Every error is an RFC 9457 problem document. Lists are pages: pass `next_cursor` on as `cursor`.
"""

EXPOSED_HEADERS = [
    "Location",
    "Retry-After",
    "ETag",
    "X-Request-ID",
    "traceparent",
    "WWW-Authenticate",
    "RateLimit",
    "RateLimit-Policy",
    "Preference-Applied",
    "Attractor-Decimation",
    "Content-Disposition",
    "Content-Range",
    "Repr-Digest",
]


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The ASGI application; one per process."""
    settings = settings or ApiSettings()
    tracer = make_tracer("attractor-api")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(settings)
        blobs = make_blobs(settings)
        announcer = Announcer(settings)
        canary = Canary(settings, database)
        app.state.services = Services(
            settings=settings,
            database=database,
            blobs=blobs,
            announcer=announcer,
            load_model=make_loader(database, blobs, settings.model_cache_size),
            canary=canary,
            exposition=Exposition(database, canary),
        )
        app.state.gate = Gate(settings, database)
        # All that was imported stays: without this the collector walks through it, for a tenth of a second each time.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
            await app.state.gate.close()
            announcer.close()
            database.close()
            tracer.close()

    app = FastAPI(
        title="attractor",
        version=version("attractor"),
        summary="Dynamical-system reconstruction as a service.",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        # Ours is api.telemetry; the framework's would record what callers sent.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        docs_url=None,
        redoc_url=None,
    )
    app.openapi = cache(lambda: openapi.document(app))  # type: ignore[method-assign]
    app.add_middleware(Access)
    app.add_middleware(OtherPages, hosts=settings.allowed_hosts, origins=settings.cors_origins)
    app.add_middleware(Envelope)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(Telemetry, tracer=tracer)
    app.add_middleware(Heads)
    errors.install(app)
    storage_errors.install(app)
    _include(app, settings)
    app.frontend("/", directory=WEB, fallback=None, check_dir=False)
    return app


def _include(app: FastAPI, settings: ApiSettings) -> None:
    """Every router, under the body limit of its kind."""
    app.include_router(series, max_body_size=settings.max_upload_bytes)
    app.include_router(imports, max_body_size=MAX_BODY_BYTES)
    for router in (
        jobs,
        analyses,
        models,
        forecasts,
        evaluations,
        figures,
        capabilities,
        samples,
        reports,
        keys,
        webhooks,
        health,
        docs.router,
    ):
        app.include_router(router, max_body_size=settings.max_json_bytes)
