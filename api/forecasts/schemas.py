"""What is asked of a model."""

from __future__ import annotations

from pydantic import Field

from domain.companions import Companions
from domain.specs import ForecastSpec


class ForecastRequest(Companions, ForecastSpec):
    """A forecast by the model of the path: from a stored series (default: the one it was trained on) or a context."""

    series_id: str | None = Field(default=None, description="Series to start from; not with a context.")

    def spec(self) -> ForecastSpec:
        return ForecastSpec.model_construct(**{name: getattr(self, name) for name in ForecastSpec.model_fields})
