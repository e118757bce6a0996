"""Base classes of everything that is said over the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, model_validator


def _has_numbers(annotation: Any) -> bool:
    return annotation in (int, float) or any(_has_numbers(part) for part in get_args(annotation))


class Spec(BaseModel):
    """What a caller may ask for: unknown fields, NaN, infinity, and truth values in place of numbers are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, data: Any) -> Any:
        """pydantic takes false for 0 and true for 1, which the schema does not allow: in their place goes what no field takes."""
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields
        return {
            name: object()
            if isinstance(value, bool) and name in fields and _has_numbers(fields[name].annotation)
            else value
            for name, value in data.items()
        }


class Document(BaseModel):
    """What the service answers: more fields may be added, none is ever NaN or infinite."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# Every instant is UTC and printed with a Z; naive datetimes (SQLite's) must be made aware in store/ before they get here.
Instant = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]


class Quantity(Document):
    """One number with what is needed to read it; `value` is null only with a `reason` beside it."""

    value: float | None = None
    reason: str | None = Field(default=None, description="Why there is no value. Present exactly when value is null.")
    unit: str | None = Field(default=None, description='Unit, such as "1/s", "s" or "1" (dimensionless).')
    ci: tuple[float, float] | None = Field(default=None, description="Confidence interval of level `level`.")
    level: float | None = Field(default=None, description="Nominal coverage of `ci`, such as 0.9.")
    method: str | None = Field(default=None, description="How the number was obtained.")


MeasureParameters = dict[str, float | int | str | list[float]]


class Measure(Quantity):
    """A measure of reconstruction quality: meaningless without its variant and parameters."""

    variant: str = Field(description='Exact definition, such as "binned-30". Never compare across variants.')
    parameters: MeasureParameters = Field(default_factory=dict)
    floor: float | None = Field(
        default=None,
        description="What a piece of the true series scores against another: no model can be expected below it.",
    )


class Warning_(Document):
    """Something a reader of the result must know; the result is valid nevertheless."""

    code: str
    detail: str
