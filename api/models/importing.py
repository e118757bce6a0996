"""A model comes back: its file is checked wholly, then kept with a new id. What its card says of it is taken on trust and so
marked: the numbers were measured elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from api.dependencies import Services
from domain.base import Measure, Quantity, Warning_
from domain.documents import MODEL_CARD, MODEL_WEIGHTS, Artifact, ModelOut, RecordingVector, artifact_href, summary
from domain.errors import ErrorItem, InvalidParameters, UnsupportedFormat
from domain.ids import new_id
from domain.keys import Caller
from domain.results import LyapunovSpectrum, ReconstructionReport, TrainingHistory, ValidPredictionTime
from models.cards import card
from models.reading import InvalidModel, NotSafetensors, read_model
from models.trained import TrainedModel
from store import audit
from store.tables import ArtifactRow, ModelRow

MAX_WEIGHTS_BYTES, MAX_CARD_BYTES = 64 << 20, 4 << 20
_COLUMNS = {"id", "series_id", "analysis_id", "job_id", "created_at"}
_UNKNOWN = "The model was imported without its card: evaluate it against a series."
_ELSEWHERE = "This model was imported: what is said of its training and its quality was measured elsewhere, and comes from its card."


class InvalidModelFile(InvalidParameters):
    code, title = "invalid_model", "Invalid model file"


def store(services: Services, caller: Caller, weights: bytes, described: bytes | None) -> ModelOut:
    """Check both files and keep the model; nothing is left of one that is refused."""
    model = _model(weights)
    given = {} if described is None else _card(described, model)
    document = _document(model, given)
    canonical = model.to_safetensors()
    short = summary("model", document.model_dump(mode="json", exclude={"artifacts"}))
    said = card(short, model, canonical, given.get("data") if isinstance(given.get("data"), dict) else None)
    files = [
        _kept(services, document.id, MODEL_WEIGHTS, "application/octet-stream", canonical),
        _kept(services, document.id, MODEL_CARD, "application/json", json.dumps(said, indent=2).encode()),
    ]
    document.artifacts = [
        Artifact(name=f.name, media_type=f.media_type, bytes=f.n_bytes, sha256=f.sha256, href=artifact_href(f.model_id, f.name))
        for f in files
    ]  # fmt: skip
    row = ModelRow(
        id=document.id,
        tenant=caller.principal.tenant,
        created_at=document.created_at,
        document=document.model_dump(mode="json", exclude=_COLUMNS),
    )
    with services.database.write() as session:
        session.add(row)
        session.flush()
        session.add_all(files)
        audit.record(session, caller, "model.imported", target=document.id)
    return document


def _model(weights: bytes) -> TrainedModel:
    try:
        return read_model(weights)
    except NotSafetensors as error:
        raise UnsupportedFormat(str(error), [ErrorItem(pointer="/file", detail=str(error))]) from error
    except InvalidModel as error:
        raise InvalidModelFile(str(error), [ErrorItem(pointer="/file", detail=str(error))]) from error


def _card(described: bytes, model: TrainedModel) -> dict[str, Any]:
    """The card as JSON, where it is of this model."""
    try:
        given = json.loads(described, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _wrong_card(f"The card is not JSON: {str(error)[:100]}.") from error
    if not isinstance(given, dict):
        raise _wrong_card("The card is no JSON object.")
    facts = {
        "architecture": model.architecture,
        "channels": model.channels,
        "lags": model.lags,
        "latent_dim": model.latent_dim,
    }
    for name, expected in facts.items():
        if given.get(name) != expected:
            raise _wrong_card(
                f"The card is of another model: its {name} is {str(given.get(name))[:60]}, not {expected}.", name
            )
    return given


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _wrong_card(detail: str, field: str = "") -> InvalidModelFile:
    pointer = f"/card/{field}".rstrip("/")
    return InvalidModelFile(detail, [ErrorItem(pointer=pointer, detail=detail)])


def _document(model: TrainedModel, given: dict[str, Any]) -> ModelOut:
    training = _part(given, "training", TrainingHistory) or _no_history(model)
    report = _part(given, "report", ReconstructionReport) or _no_report(model)
    report.warnings.append(Warning_(code="imported", detail=_ELSEWHERE if given else _UNKNOWN))
    forcing = training.settings.get("forcing")
    return ModelOut(
        id=new_id("model"),
        origin="imported",
        series_id=None,
        job_id=None,
        created_at=datetime.now(UTC),
        architecture=model.architecture,
        latent_dim=model.latent_dim,
        hidden_dim=model.hidden_dim,
        n_parameters=model.n_parameters,
        observation=model.observation_document(),
        forcing=forcing if isinstance(forcing, dict) else {"kind": "unknown"},
        channels=model.channels,
        input_channels=model.input_channels,
        nuisance_channels=model.nuisance_channels,
        recordings=[RecordingVector(name=name, vector=vector) for name, vector in model.vectors.items()],
        lags=model.lags,
        dt=model.dt,
        time_unit=model.time_unit,
        training=training,
        report=report,
        artifacts=[],
    )


def _part(given: dict[str, Any], name: str, kind: type[Any]) -> Any:
    """A part of the card, if it has it; refused where it is not as this service writes it."""
    if given.get(name) is None:
        return None
    try:
        return kind.model_validate(given[name])
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join([name, *map(str, first["loc"])])
        raise _wrong_card(f"The card's {place} is not as a card has it: {first['msg']}.", place) from error


def _no_history(model: TrainedModel) -> TrainingHistory:
    settings = model.card.get("settings")
    return TrainingHistory(
        updates=0,
        seconds=0.0,
        engine="unknown",
        seeds=[],
        settings=settings if isinstance(settings, dict) else {},
        train_steps=(0, 0),
        validation_steps=(0, 0),
        test_steps=(0, 0),
    )


def _no_report(model: TrainedModel) -> ReconstructionReport:
    def nothing(variant: str) -> Measure:
        return Measure(reason=_UNKNOWN, variant=variant)

    unit = model.time_unit
    return ReconstructionReport(
        verdict="undecided",
        detail=_UNKNOWN,
        d_stsp=nothing("binned-30"),
        d_h=nothing("hellinger-s20"),
        prediction_error=nothing("mse-20"),
        valid_prediction_time=ValidPredictionTime(threshold=0.4, unit=unit, reason=_UNKNOWN),
        lyapunov_spectrum=LyapunovSpectrum(unit=f"1/{unit}" if unit else "1", reason=_UNKNOWN),
        kaplan_yorke_dimension=Quantity(unit="1", reason=_UNKNOWN),
        reference_steps=(0, 0),
    )


def _kept(services: Services, model_id: str, name: str, media_type: str, data: bytes) -> ArtifactRow:
    """The file becomes a blob; its row is for the transaction that makes the model. A blob without a row is swept away."""
    blob = services.blobs.put(data)
    return ArtifactRow(model_id=model_id, name=name, media_type=media_type, sha256=blob.sha256, n_bytes=blob.n_bytes)
