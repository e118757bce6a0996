"""Example requests for the OpenAPI document; tests send them."""

from __future__ import annotations

from typing import Any

from fastapi.openapi.models import Example

SERIES_ID = "ser_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"
MODEL_ID = "mdl_0191f3c2a4b57c8d9e0f1a2b3c4d5e6f"

_REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "reconstruct": (
        "From a series to an evaluated model in one job",
        {"kind": "reconstruct", "series_id": SERIES_ID, "params": {"train": {"budget_seconds": 30, "seed": 7}}},
    ),
    "lyapunov": (
        "Lyapunov spectrum of two channels",
        {"kind": "lyapunov", "series_id": SERIES_ID, "channels": ["x", "y"], "params": {"confidence_level": 0.95}},
    ),
    "train": (
        "Train with generalised teacher forcing",
        {
            "kind": "train",
            "series_id": SERIES_ID,
            "params": {
                "architecture": "clipped-shplrnn",
                "hidden_dim": 100,
                "forcing": {"kind": "gtf", "alpha": "auto"},
                "budget_seconds": 60,
                "seed": 7,
            },
            "limits": {"timeout_s": 7200, "memory_mb": 4096},
            "priority": 5,
            "metadata": {"experiment": "lorenz"},
        },
    ),
    "train-lstm": (
        "Train an LSTM with sparse teacher forcing at random intervals, driven by an input",
        {
            "kind": "train",
            "series_id": SERIES_ID,
            "params": {
                "architecture": "lstm",
                "latent_dim": 60,
                "input_channels": ["y"],
                "forcing": {"kind": "stf", "interval_steps": "auto", "spread_steps": 10},
                "optimizer": "adam",
                "gradient_clip": 1.0,
            },
        },
    ),
    "evaluate": (
        "Measure a model on the held-out part of its series",
        {"kind": "evaluate", "model_id": MODEL_ID, "params": {"prediction_horizon_steps": 20}},
    ),
    "forecast": (
        "Forecast from the end of the series",
        {"kind": "forecast", "model_id": MODEL_ID, "params": {"horizon_steps": 500, "quantiles": [0.05, 0.95]}},
    ),
}
RETRIES: dict[str, Example] = {
    "as it was": Example(summary="The same again", value={}),
    "more time": Example(
        summary="With more time and memory", value={"limits": {"timeout_s": 14400, "memory_mb": 8192}}
    ),
}
REQUESTS: dict[str, Example] = {
    name: Example(summary=summary, value=value) for name, (summary, value) in _REQUESTS.items()
}
