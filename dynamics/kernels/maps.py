"""What an architecture gives to the compiled engine, and how a kernel learns at compile time which one it runs.

A kernel takes a `MapTag`: an empty argument whose *type* names the architecture, so that the architecture's functions are
compiled into it. All sizes are run-time numbers: one compilation serves all. Only small shallow PLRNNs are compiled for
their number of latent units as well (`units`), which keeps a whole state in registers. Each architecture overloads the
functions below in a file of its own, and registers here how its parameters lie in the flat vector `theta` and what a step
leaves behind. Sixteen states lie in memory as (M, 16), from offset `i` of a flat array.

    step        z' = F(z), sixteen states at once; what `vjp` needs of it goes to the memory of this step
    vjp         J(z)^T d, leaving on the tape what the parameter gradients need
    accumulate  the parameter gradients of `n` taped steps: deferred, so that sums over time stay in registers
    jacobian    J(z) of one state, (M, M); jacobian_bound, its largest norm over all states
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, models, overload_attribute, register_model, typeof_impl, unbox

from dynamics.kernels.device import device_overload
from models import ARCHITECTURES
from models.base import Size


@dataclass(frozen=True)
class MapTag:
    architecture: str
    units: int = 0  # latent units that the kernel is compiled for; 0: any number


class MapTagType(types.Type):
    def __init__(self, architecture: str, units: int) -> None:
        self.architecture, self.units = architecture, units
        super().__init__(name=f"MapTag({architecture}, {units})")


register_model(MapTagType)(models.OpaqueModel)


@typeof_impl.register(MapTag)
def _typeof_tag(value, context):
    return MapTagType(value.architecture, value.units)


@unbox(MapTagType)
def _unbox_tag(typ, obj, context):
    return NativeValue(cgutils.get_null_value(context.context.get_value_type(typ)))


@overload_attribute(MapTagType, "units")
def _units(tag):
    count = tag.units
    return lambda tag: count


@overload_attribute(MapTagType, "gradient_lanes")
def _gradient_lanes(tag):
    """16 where `accumulate` leaves each parameter's gradient as sixteen partial sums, 1 where it adds them up itself."""
    lanes = 16 if tag.units else 1
    return lambda tag: lanes


def latent_units(tag, size):
    """M; a constant where the kernel is compiled for it, so that loops over units unroll."""


@device_overload(latent_units)
def _latent_units(tag, size):
    count = tag.units
    if count:
        return lambda tag, size: count
    return lambda tag, size: size.latent


def step(tag, theta, size, z, i, out, o, memory, q):
    """out[o] = F(z[i]): (M, 16) -> (M, 16); the memory of this step lies at q, `memory_size` vectors long."""


def vjp(tag, theta, size, z, i, memory, q, d, j, out, o, tape, k):
    """out[o] = J(z[i])^T d[j]; the tape of this step lies at k, `tape_size` vectors long."""


def accumulate(tag, theta, gradient, size, z, i, memory, q, d, j, tape, k, n):
    """Add the parameter gradients of n steps (z, memory, d and tape from i, q, j, k on, one after the other) to `gradient`.

    `gradient` is (P, gradient_lanes).
    """


def jacobian(tag, theta, size, z, out, work):
    """out = J(z): z (M,), out (M, M), with `work_size` numbers of scratch."""


def jacobian_bound(tag, theta, size):
    """A bound on the spectral norm of J(z) for every z; NaN where none is known."""


@dataclass(frozen=True)
class Layout:
    """What the engine must know of an architecture's kernels outside of them."""

    order: tuple[tuple[str, bool], ...]  # (parameter, transposed?) in the order of theta
    memory_size: Callable[[Size], int]  # vectors that one step leaves for its vjp
    tape_size: Callable[[Size], int]  # vectors that one vjp leaves for the parameter gradients
    work_size: Callable[[Size], int] = lambda size: 0  # numbers of scratch that `jacobian` needs
    most_units: int = 0  # latent units up to which kernels are compiled for their number
    small: Layout | None = None  # the layout of those


LAYOUTS: dict[str, Layout] = {}


def make_tag(architecture: str, size: Size) -> MapTag:
    return MapTag(architecture, size.latent if size.latent <= LAYOUTS[architecture].most_units else 0)


def layout(tag: MapTag) -> Layout:
    found = LAYOUTS[tag.architecture]
    return found.small if tag.units and found.small is not None else found


def pack(architecture: str, params: dict[str, np.ndarray], dtype: np.dtype | type) -> np.ndarray:
    """Parameters as one flat vector, in the order in which the kernels read them."""
    parts = [params[name].T if transposed else params[name] for name, transposed in LAYOUTS[architecture].order]
    return np.concatenate([np.ascontiguousarray(part, dtype).ravel() for part in parts])


def unpack(architecture: str, theta: np.ndarray, size: Size) -> dict[str, np.ndarray]:
    """Inverse of `pack`; copies."""
    shapes, params, start = ARCHITECTURES[architecture].shapes(size), {}, 0
    for name, transposed in LAYOUTS[architecture].order:
        shape = shapes[name][::-1] if transposed else shapes[name]
        part = theta[start : start + int(np.prod(shape))].reshape(shape)
        params[name] = np.ascontiguousarray(part.T if transposed else part).copy()
        start += part.size
    return {name: params[name] for name in shapes}
