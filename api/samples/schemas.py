"""Samples as callers see them, and how they may be varied."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domain.base import Document, Spec
from dynamics.samples import Sample

MAX_STEPS = 100_000


class SampleRequest(Spec):
    """How a sample is made. Everything may be left away; the same request gives the same series."""

    steps: int | None = Field(default=None, ge=100, le=MAX_STEPS, description="Rows; default: those of the sample.")
    noise: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Standard deviation of Gaussian measurement noise, as a fraction of each channel's own; inputs get none.",
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="Of the noise.")
    skip: int = Field(
        default=0,
        ge=0,
        le=MAX_STEPS,
        description="Rows left out first: another stretch of the same trajectory, such as what comes after the default one.",
    )


class SampleDefaults(Document):
    steps: int
    noise: float
    seed: int = 0
    skip: int = 0


class KnownOut(Document):
    """What is known of the system itself, without noise: largest exponents first, as far as they are known."""

    exponents: list[float]
    unit: str = Field(description='"1/step" for maps, else one over the unit of time.')
    kaplan_yorke_dimension: float | None
    source: str


class SampleOut(Document):
    """A generated system whose dynamics are known."""

    name: str = Field(examples=["lorenz63"])
    title: str
    kind: Literal["flow", "map", "dde"] = Field(description="Differential equation, map, or delay equation.")
    channels: list[str]
    input_channels: list[str] = Field(
        description="Those of `channels` that drive the system: name them in `input_channels` of a training."
    )
    dt: float
    time_unit: str
    equations: list[str]
    parameters: dict[str, float]
    lambda_max: float = Field(description="The largest Lyapunov exponent, in `known.unit`; `known` has its source.")
    known: KnownOut
    expect: str = Field(description="What an analysis should find.")
    citation: str
    defaults: SampleDefaults

    @classmethod
    def of(cls, sample: Sample) -> SampleOut:
        known = sample.known
        return cls(
            name=sample.name,
            title=sample.title,
            kind=sample.kind,
            channels=list(sample.channels),
            input_channels=list(sample.input_channels),
            dt=sample.dt,
            time_unit=sample.time_unit,
            equations=list(sample.equations),
            parameters=sample.parameters,
            lambda_max=known.exponents[0],
            known=KnownOut(
                exponents=list(known.exponents),
                unit=f"1/{sample.time_unit}",
                kaplan_yorke_dimension=known.dimension,
                source=known.source,
            ),
            expect=sample.expect,
            citation=sample.citation,
            defaults=SampleDefaults(steps=sample.steps, noise=sample.noise),
        )


class SamplesOut(Document):
    data: list[SampleOut]
