"""Which channels of a series are reconstructed, and which drive it from outside."""

from __future__ import annotations

from collections.abc import Sequence

from domain.errors import ErrorItem, InvalidParameters, UnknownChannel


def separate(
    channels: Sequence[str], input_channels: Sequence[str], at: str = "/params"
) -> tuple[list[int], list[int]]:
    """Columns of the observed channels in the order of the series, and of the inputs in the order in which they are named.

    `at` is where the specification lies in the request. Raises UnknownChannel for an input that is not among `channels`,
    InvalidParameters where nothing is left to observe.
    """
    for i, name in enumerate(input_channels):
        if name not in channels:
            names = ", ".join(channels[:20]) + (", ..." if len(channels) > 20 else "")
            detail = f"There is no channel {name[:60]!r} to take as an input; the chosen channels are {names}."
            raise UnknownChannel(detail, [ErrorItem(pointer=f"{at}/input_channels/{i}", detail=detail)])
    observed = [c for c, name in enumerate(channels) if name not in input_channels]
    if not observed:
        detail = "All channels are inputs, so nothing is left to reconstruct; leave at least one out of input_channels."
        raise InvalidParameters(detail, [ErrorItem(pointer=f"{at}/input_channels", detail=detail)])
    return observed, [list(channels).index(name) for name in input_channels]
