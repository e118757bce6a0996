"""Training: `train` a model of a series, and `held_out`, the part of the series that training never sees."""

from dynamics.training.run import train
from dynamics.training.split import held_out

__all__ = ["held_out", "train"]
