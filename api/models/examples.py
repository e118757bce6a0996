"""Example requests for the OpenAPI document; tests send them."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

_FORECASTS: dict[str, tuple[str, dict[str, Any]]] = {
    "from_series": ("500 steps from the end of the model's own series", {"horizon_steps": 500}),
    "lyapunov_times": ("Five Lyapunov times from a chosen row", {"horizon_lyapunov_times": 5, "start_index": 5000}),
    "from_context": (
        "From observations sent along, oldest first",
        {"horizon_steps": 100, "context": {"values": [[1.0, 1.0, 25.0], [1.1, 1.2, 24.6]]}, "quantiles": [0.1, 0.9]},
    ),
}
FORECASTS: dict[str, Example] = {
    name: Example(summary=summary, value=value) for name, (summary, value) in _FORECASTS.items()
}
