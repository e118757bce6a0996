"""Compiled kernels (Numba): free runs, Lyapunov spectra of models, and the training engine.

`maps` says what an architecture provides; `lanes` holds the sixteen-lane vectors that everything is written in.
"""

from dynamics.kernels.cache import use_kernel_cache

use_kernel_cache()

from dynamics.kernels import deep_plrnn, gated, plrnn, shplrnn  # noqa: E402, F401  (they register their overloads)
from dynamics.kernels.runs import free_run, lyapunov_qr  # noqa: E402

__all__ = ["free_run", "lyapunov_qr"]
