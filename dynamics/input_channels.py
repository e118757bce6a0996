"""Which channels of a series are reconstructed, which drive it from outside, and which only contaminate what is observed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from domain.companions import CompanionField
from domain.errors import ErrorItem, InvalidParameters, UnknownChannel
from models.trained import TrainedModel


class Columns(NamedTuple):
    """Columns of a series by what they are to the model."""

    observed: list[int]  # in the order of the series
    inputs: list[int]  # these two in the order in which they are named
    nuisance: list[int]


def beside(model: TrainedModel) -> dict[CompanionField, list[str]]:
    """The channels of a model that may be in series beside the one that it is applied to, by the field that names those."""
    return {"input_series": model.input_channels, "nuisance_series": model.nuisance_channels}


def separate(
    channels: Sequence[str], input_channels: Sequence[str], nuisance_channels: Sequence[str] = (), at: str = "/params"
) -> Columns:
    """`at` is where the specification lies in the request.

    Raises UnknownChannel for an input or a nuisance that is not among `channels`, InvalidParameters where nothing is left to observe.
    """
    given = {"input_channels": ("an input", input_channels), "nuisance_channels": ("a nuisance", nuisance_channels)}
    for field, (what, names) in given.items():
        for i, name in enumerate(names):
            if name not in channels:
                known = ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")
                detail = f"There is no channel {name[:60]!r} to take as {what}; the chosen channels are {known}."
                raise UnknownChannel(detail, [ErrorItem(pointer=f"{at}/{field}/{i}", detail=detail)])
    observed = [c for c, name in enumerate(channels) if name not in input_channels and name not in nuisance_channels]
    if not observed:
        field = "input_channels" if input_channels else "nuisance_channels"
        what = "inputs or nuisance" if nuisance_channels else "inputs"
        detail = f"All channels are {what}, so nothing is left to reconstruct; leave at least one out of {field}."
        raise InvalidParameters(detail, [ErrorItem(pointer=f"{at}/{field}", detail=detail)])
    columns = list(channels)
    return Columns(observed, [columns.index(n) for n in input_channels], [columns.index(n) for n in nuisance_channels])
