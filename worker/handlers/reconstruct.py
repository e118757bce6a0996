"""`kind: reconstruct`: a series alone -> Model with its Analysis."""

from __future__ import annotations

from domain.specs import ReconstructJob
from worker.context import Context, Outcome
from worker.handlers.inputs import load_series
from worker.handlers.reconstruction import reconstruct


def run(context: Context) -> Outcome:
    request = context.request
    assert isinstance(request, ReconstructJob)
    return reconstruct(
        context,
        load_series(
            context,
            request.series_id,
            request.channels,
            request.params.train.input_channels,
            request.params.train.nuisance_channels,
        ),
        lyapunov=request.params.lyapunov,
        training=request.params.train,
        evaluation=request.params.evaluate,
    )
