"""Stored models: loaded once for forecasts, and their files."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from domain.companions import FIELDS
from domain.documents import MODEL_WEIGHTS
from domain.errors import ErrorItem, InvalidParameters, NotFound, Unprocessable
from domain.results import LyapunovSpectrum, Predictability
from dynamics.forecast_inputs import predictability_of
from models.onnx_export import ENCODER, STEP, CannotExport, export_encoder, export_step
from models.trained import TrainedModel
from store import results
from store.blobs import Blobs
from store.database import Database
from store.tables import ModelRow


@dataclass(frozen=True)
class LoadedModel:
    """What a forecast needs of a model; immutable, shared by threads."""

    id: str
    series_id: str | None
    trained: TrainedModel
    predictability: Predictability
    companions: dict[str, Any]  # `input_series` and `nuisance_series` that it was trained with


class NotExportable(Unprocessable):
    code, title = "not_exportable", "The model has no such form"


GRAPHS = {STEP: export_step, ENCODER: export_encoder}


@dataclass(frozen=True)
class ArtifactFile:
    path: Path
    media_type: str
    sha256: str

    @property
    def digest(self) -> str:
        """As RFC 9530 has it."""
        return base64.b64encode(bytes.fromhex(self.sha256)).decode()


ModelLoader = Callable[[str, str], LoadedModel]


def make_loader(database: Database, blobs: Blobs, cache_size: int) -> ModelLoader:
    """`load(tenant, model_id)`, which keeps the models that were used last: a stored model never changes, though it may
    be deleted."""

    @lru_cache(cache_size)
    def load(tenant: str, model_id: str) -> LoadedModel:
        with database.read() as session:
            row = results.get(session, ModelRow, model_id, tenant=tenant)
            weights = results.artifact(session, model_id, MODEL_WEIGHTS)
        trained = TrainedModel.from_safetensors(blobs.read(weights.sha256))
        spectrum = LyapunovSpectrum.model_validate(row.document["report"]["lyapunov_spectrum"])
        predictability = predictability_of(spectrum, trained)
        beside: dict[str, Any] = {field: row.document.get(field, []) for field in FIELDS}
        return LoadedModel(model_id, row.series_id, trained, predictability, beside)

    def load_existing(tenant: str, model_id: str) -> LoadedModel:
        with database.read() as session:
            results.require(session, ModelRow, model_id, tenant=tenant)
        return load(tenant, model_id)

    return load_existing


def graph(services_load: ModelLoader, tenant: str, model_id: str, name: str, recording: str | None) -> bytes:
    """An ONNX graph of a model, or of the map of one recording, made when it is asked for: the same model gives the same bytes."""
    model = services_load(tenant, model_id).trained
    if recording is not None:
        if model.family is None:
            raise _no_recording("The model has one map for all recordings; leave recording away.")
        if recording not in model.family.names:
            raise _no_recording(f"The model knows no recording {recording[:60]!r}.")
        model = model.of(recording)
    try:
        return GRAPHS[name](model)
    except CannotExport as error:
        raise NotExportable(str(error)) from error


def _no_recording(detail: str) -> InvalidParameters:
    return InvalidParameters(detail, [ErrorItem(pointer="/query/recording", detail=detail)])


def artifact(database: Database, blobs: Blobs, tenant: str, model_id: str, name: str) -> ArtifactFile:
    if not name.isprintable():
        raise NotFound(f"Model {model_id} has no artifact {name!r}.")
    with database.read() as session:
        results.get(session, ModelRow, model_id, tenant=tenant)
        row = results.artifact(session, model_id, name)
    return ArtifactFile(blobs.file(row.sha256), row.media_type, row.sha256)
