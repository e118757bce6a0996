"""tanh and the logistic function of sixteen lanes, accurate to a few units in the last place.

Both rest on expm1(x) = 2^k (p(r) + 1) - 1 with x = k ln 2 + r, |r| <= ln(2) / 2, and p the Taylor polynomial of expm1:
no cancellation where tanh is small, and no branch. Source of the reduction: Cody & Waite 1980, "Software Manual for the
Elementary Functions", chapter 6.
"""

from __future__ import annotations

import math

from llvmlite import ir

from dynamics.kernels.lanes import LANES, LanesType, _call, intrinsic

_SINGLE = ir.FloatType()
# ln 2 in two parts, the first with so few digits that its product with k is exact
_LN2 = {32: (0.693359375, -2.12194440e-4), 64: (6.93145751953125e-1, 1.42860682030941723212e-6)}
_TERMS = {32: 7, 64: 13}
_LIMIT = {32: 87.0, 64: 708.0}  # expm1 is finite below
_MANTISSA, _BIAS = {32: 23, 64: 52}, {32: 127, 64: 1023}


def _bits(vector: ir.VectorType) -> int:
    return 32 if vector.element == _SINGLE else 64


def _constant(vector, value):
    return ir.Constant(vector, [value] * LANES)


def _fma(builder, a, b, c):
    return _call(builder, "fma", a.type, [a, b, c])


def _power_of_two(builder, k):
    """2^k for integral k of a floating type, by writing the exponent."""
    bits = _bits(k.type)
    integers = ir.VectorType(ir.IntType(bits), LANES)
    exponent = builder.add(builder.fptosi(k, integers), ir.Constant(integers, [_BIAS[bits]] * LANES))
    return builder.bitcast(builder.shl(exponent, ir.Constant(integers, [_MANTISSA[bits]] * LANES)), k.type)


def _expm1(builder, x):
    """e^x - 1 for |x| within the type's limit."""
    vector, bits = x.type, _bits(x.type)
    k = _call(builder, "rint", vector, [builder.fmul(x, _constant(vector, 1.0 / math.log(2.0)))])
    negative = builder.fsub(_constant(vector, 0.0), k)
    r = _fma(builder, negative, _constant(vector, _LN2[bits][0]), x)
    r = _fma(builder, negative, _constant(vector, _LN2[bits][1]), r)
    p = _constant(vector, 1.0 / math.factorial(_TERMS[bits]))
    for order in range(_TERMS[bits] - 1, 1, -1):
        p = _fma(builder, p, r, _constant(vector, 1.0 / math.factorial(order)))
    p = _fma(builder, builder.fmul(r, r), p, r)
    scale = _power_of_two(builder, k)
    return _fma(builder, scale, p, builder.fsub(scale, _constant(vector, 1.0)))


def _clamped(builder, x, low, high):
    """x within [low, high]; NaN stays NaN, so that divergence can be seen."""
    low, high = _constant(x.type, low), _constant(x.type, high)
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


def _elementwise(build, name, docstring):
    def typed(typingctx, a):
        if not isinstance(a, LanesType):
            return None

        def codegen(context, builder, signature, args):
            return build(builder, args[0])

        return a(a), codegen

    typed.__name__, typed.__doc__ = name, docstring
    return intrinsic(typed)


def _tanh(builder, x):
    """-e / (e + 2) with e = expm1(-2 x)."""
    bits = _bits(x.type)
    doubled = _clamped(builder, builder.fmul(x, _constant(x.type, -2.0)), -_LIMIT[bits] / 2, _LIMIT[bits] / 2)
    e = _expm1(builder, doubled)
    ratio = builder.fdiv(e, builder.fadd(e, _constant(x.type, 2.0)))
    return builder.fsub(_constant(x.type, 0.0), ratio)


def _sigmoid(builder, x):
    """1 / (2 + expm1(-x))."""
    limit = _LIMIT[_bits(x.type)]
    e = _expm1(builder, _clamped(builder, builder.fsub(_constant(x.type, 0.0), x), -limit, limit))
    return builder.fdiv(_constant(x.type, 1.0), builder.fadd(e, _constant(x.type, 2.0)))


tanh = _elementwise(_tanh, "lanes_tanh", "tanh(a), lane by lane.")
sigmoid = _elementwise(_sigmoid, "lanes_sigmoid", "1 / (1 + exp(-a)), lane by lane.")
