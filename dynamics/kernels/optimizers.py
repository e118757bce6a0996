"""One step of Adam, AdamW or RAdam on a flat vector, as torch.optim's of the same name (betas 0.9, 0.999, eps 1e-8).

Sources: Kingma & Ba 2015, "Adam", ICLR, algorithm 1; Loshchilov & Hutter 2019, "Decoupled weight decay regularization", ICLR,
algorithm 2; Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", ICLR, algorithm 2.
"""

from __future__ import annotations

import math

from numba import njit

OPTIMIZERS = ("radam", "adam", "adamw")
RADAM, ADAM, ADAMW = 0, 1, 2
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@njit(cache=True, nogil=True, error_model="numpy")
def optimize(kind, theta, momentum, variance, gradient, update, rate, decay):
    """Move theta (P,) along the gradient (P,); `update` counts from 1.

    `decay` is added to the gradient as decay * theta, for AdamW taken off the parameters instead.
    """
    correction1, correction2 = 1.0 - BETA1**update, 1.0 - BETA2**update
    size, eps = rate / correction1, EPS
    if kind == RADAM:
        rho_inf = 2.0 / (1.0 - BETA2) - 1.0
        rho = rho_inf - 2.0 * update * BETA2**update / correction2
        if rho > 5.0:
            numerator = (rho - 4) * (rho - 2) * rho_inf
            size *= math.sqrt(numerator / ((rho_inf - 4) * (rho_inf - 2) * rho) * correction2)
        else:
            eps = -1.0  # no adaptive step yet: plain momentum
    else:
        size *= math.sqrt(correction2)
        eps *= math.sqrt(correction2)
    shrink = 1.0 - rate * decay if kind == ADAMW else 1.0
    coupled = 0.0 if kind == ADAMW else decay
    for p in range(len(theta)):
        g = gradient[p] + coupled * theta[p]
        momentum[p] += (g - momentum[p]) * (1.0 - BETA1)
        variance[p] = BETA2 * variance[p] + (1.0 - BETA2) * g * g
        divisor = math.sqrt(variance[p]) + eps if eps >= 0.0 else 1.0
        theta[p] = shrink * theta[p] - size * momentum[p] / divisor
