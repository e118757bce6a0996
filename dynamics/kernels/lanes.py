"""Vectors of 16 lanes for compiled kernels: sixteen trajectories advance in one register.

LLVM's vectoriser loses its way in recursions over time (aliasing, short inner loops); these intrinsics say outright
which sixteen numbers belong together. On AVX-512 a float32 vector is one register, on AVX2 two, elsewhere four; LLVM
lowers it for the machine at hand. Semi-public Numba interfaces are used, so Numba's version is pinned, and the torch
reference of `dynamics.training` is the fallback.

`lanes_load(a, i)` reads a[i:i+16] of a contiguous 1-d array; `registers(tag, a)` gives M such vectors in registers,
`registers(count, a)` a literal number of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

LANES = 16
intrinsic: Any = _intrinsic  # Numba's annotation knows nothing of the typing context that it passes


class LanesType(types.Type):
    """Sixteen numbers of one floating type."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"lanes16({dtype})")


class RegistersType(types.Type):
    """`count` vectors, addressed by index; they stay in machine registers once the loops over them are unrolled."""

    def __init__(self, dtype: types.Float, count: int) -> None:
        self.dtype, self.count = dtype, count
        super().__init__(name=f"registers({dtype}, {count})")


def _vector(dtype: types.Float) -> ir.VectorType:
    return ir.VectorType(ir.FloatType() if dtype == types.float32 else ir.DoubleType(), LANES)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type.dtype))


@register_model(RegistersType)
class _RegistersModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(_vector(fe_type.dtype), fe_type.count).as_pointer())


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _vector(array_type.dtype).as_pointer())


def _call(builder, name, vector, arguments, result=None, fastmath=()):
    suffix = f"v{LANES}f{32 if vector.element == ir.FloatType() else 64}"
    function_type = ir.FunctionType(result or vector, [a.type for a in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}")
    return builder.call(function, arguments, fastmath=fastmath)


def _splat(builder, value, dtype):
    vector = _vector(dtype)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), mask)


@intrinsic
def lanes_load(typingctx, array, index):
    """a[i : i + 16]."""

    def codegen(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(pointer, align=signature.args[0].dtype.bitwidth // 8)

    return LanesType(array.dtype)(array, types.intp), codegen


@intrinsic
def lanes_store(typingctx, array, index, value):
    """a[i : i + 16] = value."""

    def codegen(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def broadcast(typingctx, array, index):
    """Sixteen copies of a[i]."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _splat(builder, builder.load(builder.gep(data, [args[1]])), signature.args[0].dtype)

    return LanesType(array.dtype)(array, types.intp), codegen


@intrinsic
def fill(typingctx, value):
    """Sixteen copies of a scalar; its type decides the lanes' type."""

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0], signature.args[0])

    return LanesType(value)(value), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a b + c, rounded once."""

    def codegen(context, builder, signature, args):
        return _call(builder, "fma", args[0].type, list(args))

    return a(a, b, c), codegen


def _arithmetic(operation, docstring):
    def typed(typingctx, a, b):
        def codegen(context, builder, signature, args):
            return getattr(builder, operation)(args[0], args[1])

        return a(a, b), codegen

    typed.__doc__ = docstring
    typed.__name__ = f"lanes_{operation}"
    return intrinsic(typed)


add = _arithmetic("fadd", "a + b, lane by lane.")
sub = _arithmetic("fsub", "a - b, lane by lane.")
mul = _arithmetic("fmul", "a b, lane by lane.")
divide = _arithmetic("fdiv", "a / b, lane by lane.")


def _is_positive(builder, value):
    return builder.fcmp_ordered(">", value, ir.Constant(value.type, [0.0] * LANES))


@intrinsic
def relu(typingctx, a):
    """max(a, 0); NaN becomes 0, so that divergence must be read from the state, which keeps it."""

    def codegen(context, builder, signature, args):
        return builder.select(_is_positive(builder, args[0]), args[0], ir.Constant(args[0].type, [0.0] * LANES))

    return a(a), codegen


@intrinsic
def gate(typingctx, a, b):
    """b where a > 0, else 0: the derivative of relu(a), times b."""

    def codegen(context, builder, signature, args):
        return builder.select(_is_positive(builder, args[0]), args[1], ir.Constant(args[1].type, [0.0] * LANES))

    return a(a, b), codegen


@intrinsic
def lanes_sum(typingctx, a):
    """Sum over the lanes, as a balanced tree."""

    def codegen(context, builder, signature, args):
        element = args[0].type.element
        return _call(
            builder, "vector.reduce.fadd", args[0].type, [ir.Constant(element, 0.0), args[0]], element, ("reassoc",)
        )

    return a.dtype(a), codegen


@intrinsic
def registers(typingctx, tag, like):
    """Uninitialised vectors of the type of the array `like`: as many as the tag has latent units, or a literal number."""
    if not hasattr(tag, "units") and not isinstance(tag, types.IntegerLiteral):
        raise RequireLiteralValue("the number of registers is known at compile time")
    count, dtype = tag.units if hasattr(tag, "units") else tag.literal_value, like.dtype

    def codegen(context, builder, signature, args):
        return cgutils.alloca_once(builder, ir.ArrayType(_vector(dtype), count))

    return RegistersType(dtype, count)(tag, like), codegen


def _register(builder, pointer, index):
    return builder.gep(pointer, [ir.Constant(index.type, 0), index], inbounds=True)


@intrinsic
def get(typingctx, bank, index):
    """Vector `index` of a register bank."""

    def codegen(context, builder, signature, args):
        return builder.load(_register(builder, args[0], args[1]))

    return LanesType(bank.dtype)(bank, types.intp), codegen


@intrinsic
def put(typingctx, bank, index, value):
    """Set vector `index` of a register bank."""

    def codegen(context, builder, signature, args):
        builder.store(args[2], _register(builder, args[0], args[1]))
        return context.get_dummy_value()

    return types.void(bank, types.intp, value), codegen


def aligned(size: int, dtype: np.dtype | type) -> np.ndarray:
    """Zeros that begin at a cache line: a vector that straddles two lines costs twice."""
    itemsize = np.dtype(dtype).itemsize
    raw = np.zeros(size + 64 // itemsize, dtype)
    offset = (-raw.ctypes.data % 64) // itemsize
    return raw[offset : offset + size]
