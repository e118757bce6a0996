"""`kind: reconstruct`: a series alone -> Model with its Analysis."""

from __future__ import annotations

from domain.specs import ReconstructJob
from worker.context import Context, Outcome
from worker.handlers.inputs import load_for_training
from worker.handlers.reconstruction import reconstruct


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, ReconstructJob)
    given, spec = load_for_training(context, request, request.params.train)
    return reconstruct(
        context, given, lyapunov=request.params.lyapunov, training=spec, evaluation=request.params.evaluate
    )
