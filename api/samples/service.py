"""A sample becomes a series: generated here, then checked and kept as an upload is."""

from __future__ import annotations

from typing import Any

from api.dependencies import Services
from api.samples.schemas import SampleRequest
from api.series.parsing.table import Table, resolve
from api.series.schemas import SeriesFields
from api.series.service import keep, limits_of
from api.series.storing import Scratch
from domain.errors import ErrorItem, NotFound, TooLarge
from dynamics.samples import SAMPLES, Sample, observed
from store import series


def find(name: str) -> Sample:
    if name not in SAMPLES:
        raise NotFound(f"There is no sample {name[:60]!r}; there are {', '.join(SAMPLES)}.")
    return SAMPLES[name]


def make(services: Services, tenant: str, sample: Sample, request: SampleRequest) -> series.Added:
    """Generate, audit and store; the series that is there already where the same was asked for before."""
    steps = sample.steps if request.steps is None else request.steps
    noise = sample.noise if request.noise is None else request.noise
    limits = limits_of(services.settings)
    if steps > limits.rows or steps * len(sample.channels) > limits.values:
        detail = (
            f"{steps} rows of {len(sample.channels)} channels are more than this service takes: ask for fewer steps."
        )
        raise TooLarge(detail, [ErrorItem(pointer="/steps", detail="is too many")])
    fields = SeriesFields.model_validate(
        {
            "name": _name(sample, noise, request),
            "dt": sample.dt,
            "time_unit": sample.time_unit,
            "channels": list(sample.channels),
        }
    )
    values = observed(sample, steps, noise=noise, seed=request.seed, skip=request.skip)
    table = Table(resolve(None, values.shape[1], fields, limits), iter([(None, values)]))
    source: dict[str, Any] = {
        "format": "sample",
        "sample": sample.name,
        "steps": steps,
        "noise": noise,
        "seed": request.seed,
        "skip": request.skip,
        "equations": list(sample.equations),
        "parameters": sample.parameters,
    }
    with Scratch(services.blobs) as scratch:
        return keep(services, tenant, [("", table)], fields, source, scratch)


def _name(sample: Sample, noise: float, request: SampleRequest) -> str:
    """What people read in lists; noise and seed tell two stretches apart."""
    parts = [sample.title, f"{100 * noise:.4g} % noise" if noise else "without noise"]
    parts += [f"seed {request.seed}"] if request.seed and noise else []
    parts += [f"after {request.skip:,} steps"] if request.skip else []
    return ", ".join(parts)
