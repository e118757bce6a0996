"""What a sample is: equations as text and as code, how it is sampled, and what is known about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = tuple[float, ...]
Kind = Literal["flow", "map", "dde"]


@dataclass(frozen=True)
class Known:
    """The Lyapunov spectrum of the system itself (per time unit, for maps per step; as far as it is known, largest first),
    its Kaplan-Yorke dimension, and where the numbers come from."""

    exponents: tuple[float, ...]
    source: str
    dimension: float | None = None


@dataclass(frozen=True)
class Sample:
    """A system of the gallery.

    `rule` is the vector field (state, time) of a flow, one step of a map (its time is the number of the step), or the
    right-hand side of a delay equation, whose state is the present value followed by the one `delay` time units ago.
    Flows and delay equations are integrated in `substeps` steps of the Runge-Kutta method to each sampling step.
    """

    name: str
    title: str
    kind: Kind
    channels: tuple[str, ...]
    dt: float
    time_unit: str
    equations: tuple[str, ...]
    parameters: dict[str, float]
    rule: Callable[[State, float], State]
    start: State
    transient: int  # sampling steps that are left out before the first
    known: Known
    expect: str
    citation: str
    substeps: int = 1
    delay: float = 0.0
    drive: Callable[[float], State] | None = None  # of the last channels, which are inputs: known, and without noise
    steps: int = 10_000
    noise: float = 0.05

    @property
    def input_channels(self) -> tuple[str, ...]:
        """Channels that drive the system instead of belonging to it."""
        return self.channels[-len(self.drive(0.0)) :] if self.drive else ()
