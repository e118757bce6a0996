"""What an architecture gives to the compiled engine, and how a kernel learns at compile time which one it runs.

A kernel takes a `MapTag`: an empty argument whose *type* names the architecture and the number of latent units M, so
that loops over units unroll and the architecture's functions are inlined. The number of hidden units stays a run-time
number: one compilation serves all. Each architecture overloads the functions below in a file of its own, and registers
the order in which its parameters lie in the flat vector `theta`. Sixteen states lie in memory as (M, 16), from offset
`i` of a flat array.

    step        z' = F(z), sixteen states at once
    vjp         J(z)^T d, leaving on the tape what the parameter gradients need
    accumulate  the parameter gradients of `n` taped steps: deferred, so that accumulators stay in registers
    jacobian    J(z) of one state, (M, M); jacobian_bound, its largest norm over all states
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, models, overload_attribute, register_model, typeof_impl, unbox

from models import ARCHITECTURES


@dataclass(frozen=True)
class MapTag:
    architecture: str
    latent_dim: int


class MapTagType(types.Type):
    def __init__(self, architecture: str, latent_dim: int) -> None:
        self.architecture, self.latent_dim = architecture, latent_dim
        super().__init__(name=f"MapTag({architecture}, {latent_dim})")


register_model(MapTagType)(models.OpaqueModel)


@typeof_impl.register(MapTag)
def _typeof_tag(value, context):
    return MapTagType(value.architecture, value.latent_dim)


@unbox(MapTagType)
def _unbox_tag(typ, obj, context):
    return NativeValue(cgutils.get_null_value(context.context.get_value_type(typ)))


@overload_attribute(MapTagType, "latent_dim")
def _latent_dim(tag):
    count = tag.latent_dim
    return lambda tag: count


def step(tag, theta, hidden, z, i, out, o):
    """out[o] = F(z[i]): (M, 16) -> (M, 16)."""


def vjp(tag, theta, hidden, z, i, d, j, out, o, tape, k):
    """out[o] = J(z[i])^T d[j]; the tape of this step lies at k, `tape_size` vectors long."""


def accumulate(tag, gradient, hidden, z, i, d, j, tape, k, n):
    """Add the parameter gradients of n steps (z, d and the tape from i, j, k on, one after the other) to `gradient` (P, 16)."""


def tape_size(tag, hidden):
    """Vectors of 16 that one step leaves on the tape; the same as `TAPE_SIZES`."""


def jacobian(tag, theta, hidden, z, out):
    """out = J(z): z (M,), out (M, M)."""


def jacobian_bound(tag, theta, hidden):
    """A bound on the spectral norm of J(z) for every z."""


TAPE_SIZES: dict[
    str, Callable[[int, int], int]
] = {}  # architecture -> (M, H) -> vectors that one step leaves on the tape
LAYOUTS: dict[str, tuple[tuple[str, bool], ...]] = {}  # architecture -> (parameter, transposed?) in the order of theta


def pack(architecture: str, params: dict[str, np.ndarray], dtype: np.dtype | type) -> np.ndarray:
    """Parameters as one flat vector, in the order in which the kernels read them."""
    parts = [params[name].T if transposed else params[name] for name, transposed in LAYOUTS[architecture]]
    return np.concatenate([np.ascontiguousarray(part, dtype).ravel() for part in parts])


def unpack(architecture: str, theta: np.ndarray, latent_dim: int, hidden_dim: int) -> dict[str, np.ndarray]:
    """Inverse of `pack`; copies."""
    shapes, params, start = ARCHITECTURES[architecture].shapes(latent_dim, hidden_dim), {}, 0
    for name, transposed in LAYOUTS[architecture]:
        shape = shapes[name][::-1] if transposed else shapes[name]
        part = theta[start : start + int(np.prod(shape))].reshape(shape)
        params[name] = np.ascontiguousarray(part.T if transposed else part).copy()
        start += part.size
    return {name: params[name] for name in shapes}
