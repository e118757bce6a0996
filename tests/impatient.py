"""The real science, with checkpoints of training so often that a short one can be interrupted between them."""

from __future__ import annotations

from dynamics.training import ensemble
from worker.handlers import HANDLERS

__all__ = ["HANDLERS"]

ensemble.CHECKPOINT_SECONDS = 0.2
