"""Learned maps z[t] = F(z[t-1]), one architecture per file.

Each architecture is written once, against an array namespace `xp` that is either numpy or torch: numpy serves
evaluation and forecasts (no torch needed), torch is the training reference, and the compiled kernels of
`dynamics/kernels` are tested against both.
"""

from models.base import ARCHITECTURES, Architecture
from models.shplrnn import ClippedShPLRNN, ShPLRNN
from models.trained import Drive, Inputs, TrainedModel

__all__ = ["ARCHITECTURES", "Architecture", "ClippedShPLRNN", "Drive", "Inputs", "ShPLRNN", "TrainedModel"]
