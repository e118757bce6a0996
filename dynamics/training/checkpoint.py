"""Checkpoints: every run's weights, optimiser, random state and what was judged so far, as one npz without pickles.

A checkpoint belongs to its request: the fingerprint of settings, data and versions must agree, or it is left alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import asdict
from typing import Any

import numpy as np

from dynamics.kernels.block import Learner
from dynamics.kernels.lanes import aligned
from dynamics.training.seeds import SeedState
from dynamics.training.selection import Judgement

FORMAT = "attractor-training/1"
PLAIN = ("seed", "total", "update", "seconds", "finished", "diverged", "capped", "best_update")


def fingerprint(settings: dict[str, Any], series: np.ndarray, versions: dict[str, str]) -> str:
    digest = hashlib.sha256(json.dumps([settings, versions], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(series).tobytes())
    return digest.hexdigest()


def dump(states: list[SeedState], seconds: float, fingerprint: str) -> bytes:
    arrays: dict[str, np.ndarray] = {}
    described = []
    for k, state in enumerate(states):
        entry = {name: getattr(state, name) for name in PLAIN}
        entry["best"] = _plain(state.best)
        entry["judged"] = [_plain(j) for j in state.judged]
        described.append(entry)
        for name, part in state.learner._asdict().items():
            arrays[f"{k}.{name}"] = part
        arrays[f"{k}.losses"] = np.array(state.losses, float).reshape(-1, 2)
        if state.best_theta is not None:
            arrays[f"{k}.best_theta"] = state.best_theta
    header = {"format": FORMAT, "fingerprint": fingerprint, "seconds": seconds, "states": described}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def load(data: bytes, fingerprint: str) -> tuple[list[SeedState], float] | None:
    """States and seconds spent so far; None for another request's checkpoint or one that cannot be read."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        header = json.loads(arrays["header"].tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    if header.get("format") != FORMAT or header["fingerprint"] != fingerprint:
        return None
    return [_state(k, entry, arrays) for k, entry in enumerate(header["states"])], header["seconds"]


def _state(k: int, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> SeedState:
    learner = Learner(*(_aligned(arrays[f"{k}.{name}"]) for name in Learner._fields))
    return SeedState(
        **{name: entry[name] for name in PLAIN},
        learner=learner,
        best=_judgement(entry["best"]),
        best_theta=arrays.get(f"{k}.best_theta"),
        judged=[j for j in map(_judgement, entry["judged"]) if j is not None],
        losses=[(int(u), float(v)) for u, v in arrays[f"{k}.losses"]],
    )


def _plain(judgement: Judgement | None) -> dict[str, Any] | None:
    return None if judgement is None else asdict(judgement)


def _judgement(entry: dict[str, Any] | None) -> Judgement | None:
    return None if entry is None else Judgement(**entry)


def _aligned(array: np.ndarray) -> np.ndarray:
    copy = aligned(array.size, array.dtype)
    copy[:] = array
    return copy
