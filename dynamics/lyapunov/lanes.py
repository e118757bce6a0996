"""What the kernels here need of sixteen-lane vectors beyond `dynamics.kernels.lanes`: square root and quotient."""

from __future__ import annotations

from llvmlite import ir

from dynamics.kernels.lanes import LANES, LanesType, intrinsic


def _root_codegen(context, builder, signature, args):
    vector = args[0].type
    function = builder.module.globals.get(f"llvm.sqrt.v{LANES}f64") or ir.Function(
        builder.module, ir.FunctionType(vector, [vector]), f"llvm.sqrt.v{LANES}f64"
    )
    return builder.call(function, args)


@intrinsic
def root(typingctx, a):
    """Square root of lanes of float64."""
    return (a(a), _root_codegen) if isinstance(a, LanesType) else None


@intrinsic
def divide(typingctx, a, b):
    """a / b, lane by lane."""

    def codegen(context, builder, signature, args):
        return builder.fdiv(args[0], args[1])

    return (a(a, b), codegen) if isinstance(a, LanesType) else None
