"""Learned maps z[t] = F(z[t-1]), one family of architectures per file.

Each architecture is written once, against an array namespace `xp` that is either numpy or torch: numpy serves
evaluation and forecasts (no torch needed), torch is the training reference, and the compiled kernels of
`dynamics/kernels` are tested against both.
"""

from models.al_rnn import ALRNN
from models.base import ARCHITECTURES, Architecture, Size
from models.deep_plrnn import DeepPLRNN
from models.dend_plrnn import ClippedDendPLRNN, DendPLRNN
from models.gru import GRU
from models.lstm import LSTM
from models.plrnn import PLRNN, ClippedPLRNN, MeanCenteredPLRNN
from models.shplrnn import ClippedShPLRNN, ShPLRNN
from models.trained import TrainedModel
from models.vanilla_rnn import VanillaRNN

__all__ = [
    "ALRNN",
    "ARCHITECTURES",
    "GRU",
    "LSTM",
    "PLRNN",
    "Architecture",
    "ClippedDendPLRNN",
    "ClippedPLRNN",
    "ClippedShPLRNN",
    "DeepPLRNN",
    "DendPLRNN",
    "MeanCenteredPLRNN",
    "ShPLRNN",
    "Size",
    "TrainedModel",
    "VanillaRNN",
]
