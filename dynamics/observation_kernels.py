"""The kernel that a specification asks for; used before a job is accepted as well as in training: no compiled code here."""

from __future__ import annotations

import numpy as np

from domain.errors import ErrorItem, InvalidParameters
from domain.specs import TrainSpec
from domain.training_specs import ExponentialKernelSpec, GivenKernelSpec, KernelSpec
from models.filters import exponential, haemodynamic

SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "min": 60.0}
SMALLEST_SUM = 0.05  # of a kernel over that of its absolute values


def kernel_of(spec: KernelSpec, dt: float, time_unit: str, at: str = "/params") -> np.ndarray:
    """The kernel (L,) of sum 1, one number a step. Raises InvalidParameters where it is no filter, or its time is unknown."""
    place = f"{at}/observation/kernel"
    if isinstance(spec, GivenKernelSpec):
        values = np.array(spec.values)
        if abs(values.sum()) < SMALLEST_SUM * np.abs(values).sum() or not values.any():
            detail = "The values of the kernel add up to almost nothing, so it hides the mean of the states; give a kernel that does not."
            raise InvalidParameters(detail, [ErrorItem(pointer=f"{place}/values", detail=detail)])
        return values / values.sum()
    if isinstance(spec, ExponentialKernelSpec):
        return exponential(spec.decay_time / dt)
    seconds = spec.repetition_time
    if seconds == "auto":
        if time_unit not in SECONDS:
            detail = (
                f"The series is sampled every {dt:g} {time_unit or '(no unit)'}, and the haemodynamic response is known in seconds: "
                "give kernel.repetition_time, the seconds between two rows."
            )
            raise InvalidParameters(detail, [ErrorItem(pointer=f"{place}/repetition_time", detail=detail)])
        seconds = dt * SECONDS[time_unit]
    return haemodynamic(seconds)


def loss_of(spec: TrainSpec) -> str:
    """`states` or `observations`: on which side of the kernel training takes its loss."""
    if spec.observation.kind != "convolutional":
        return "observations"
    if spec.observation.loss != "auto":
        return spec.observation.loss
    return "observations" if spec.nuisance_channels else "states"


def checked_kernel(spec: TrainSpec, dt: float, time_unit: str, at: str = "/params") -> list[float]:
    """The kernel of a convolutional observation, empty for any other. InvalidParameters also where no training sequence holds it.

    A loss of states needs none that does.
    """
    if spec.observation.kind != "convolutional":
        return []
    kernel = kernel_of(spec.observation.kernel, dt, time_unit, at)
    if loss_of(spec) == "observations" and spec.sequence_length != "auto" and spec.sequence_length < len(kernel):
        detail = (
            f"The kernel spans {len(kernel)} rows and does not fit into a training sequence of {spec.sequence_length} steps, of which none "
            f'could be judged: raise sequence_length to {2 * len(kernel)} or so (at least {len(kernel)}), leave it away, or set observation.loss to "states".'
        )
        raise InvalidParameters(detail, [ErrorItem(pointer=f"{at}/sequence_length", detail=detail)])
    return [float(weight) for weight in kernel]
