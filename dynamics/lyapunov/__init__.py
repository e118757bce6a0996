"""Lyapunov exponents from a measured series: a smooth model is fitted to it, chosen by forecasts, and measured by QR."""

from dynamics.lyapunov.analysis import analyze

__all__ = ["analyze"]
