"""How good the trained models are: the protocol of the published tables on Lorenz-63, an ECG and an EEG, with baselines.

    python -m benchmarks.quality --data FOLDER [--systems lorenz ecg eeg] [--runs 20] [--patient] [--race] [--output quality.json]

Every run is one training as the service does it: `dynamics.training.train` with default parameters (several seeds, the best
on training and validation data), tuned by one Lyapunov analysis of the training series. Then the protocol of Hess et al.
2023: one free run from the first row of the test series, 1.25 T steps, the first quarter dropped, against the test series.
`--race` adds seconds to quality on Lorenz-63, compiled engine against eager torch.

FOLDER (or ATTRACTOR_BENCHMARK_DATA) holds lorenz63_train.npy, lorenz63_test.npy, ecg_train.npy, ecg_test.npy and eeg.npy:
the data of that paper, github.com/DurstewitzLab/GTF-shPLRNN.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # its neighbours, whether run as a module or as a file
from parts.baselines import HORIZON, baselines, published_measures
from training import SHALLOW, engines, machine, updates_per_second

from domain.results import LyapunovAnalysis, TrainingHistory
from domain.specs import EvaluateSpec, LyapunovSpec, TrainSpec
from dynamics.evaluation import evaluate
from dynamics.kernels import free_run
from dynamics.lyapunov import analyze
from dynamics.measures import prediction_error
from dynamics.measures.prediction_error import FreeRun
from dynamics.reporting import Diverged, Reporter
from dynamics.training import train
from dynamics.training.reference import ReferenceEngine
from dynamics.training.settings import resolve
from dynamics.training.split import split
from models import TrainedModel
from models.trained import Drive

KEYS = ("d_stsp", "d_h", "prediction_error")
LOST = 0.7  # d_h of a run that rests or circles where the data do not; noise scores 0.84
SEED_STRIDE = 1000  # runs share no seed
WHOLE_SERIES = {
    "test_fraction": 0.0
}  # the test series is another one, or by the protocol the same: nothing is held out of it


@dataclass(frozen=True)
class System:
    """A pair of series and what was published for it: (method, d_stsp, d_h, PE(20)), None where not stated."""

    train: str
    test: str
    dt: float
    time_unit: str
    published: list[tuple[str, float, float | None, float | None]]
    note: str = ""


SYSTEMS = {
    "lorenz": System(
        "lorenz63_train.npy",
        "lorenz63_test.npy",
        0.01,
        "time unit",
        [
            ("shPLRNN + GTF (Hess et al. 2023)", 0.26, 0.09, None),
            ("SINDy", 0.24, None, None),
            ("reservoir computer", 0.52, None, None),
            ("LSTM", 0.46, None, None),
            ("dendPLRNN", 0.9, None, None),
        ],
        note="5 % noise on the training series, none on the test series; all rows but the first from secondary sources",
    ),
    "ecg": System(
        "ecg_train.npy",
        "ecg_test.npy",
        1.0,
        "step",
        [
            ("shPLRNN + GTF (Hess et al. 2023)", 4.3, 0.34, 2.4e-3),
            ("reservoir computer", 5.3, 0.39, 4e-3),
            ("dendPLRNN", 5.8, 0.37, 4e-3),
            ("LSTM", 15.2, 0.73, 25e-3),
            ("neural ODE", 12.2, 0.7, 0.41),
        ],
    ),
    "eeg": System(
        "eeg.npy",
        "eeg.npy",
        1.0,
        "step",
        [
            ("shPLRNN + GTF (Hess et al. 2023)", 2.1, 0.11, 0.55),
            ("dendPLRNN", 3.0, 0.13, 0.34),
            ("reservoir computer", 14.0, 0.54, 0.59),
            ("LSTM", 30.0, 0.2, 0.92),
            ("neural ODE", 20.0, 0.47, 0.55),
        ],
        note="in-sample, as published: test and training series are the same rows; nothing is held out but 5 % for validation",
    ),
}


def measure(model: TrainedModel, test: np.ndarray) -> dict[str, float | None]:
    """The published protocol; the prediction error in the units of the files."""
    model = model.as_float64()
    x = model.embed(test)
    with np.errstate(all="ignore"):
        states = free_run(model, model.encode(x[:1]), len(x) + len(x) // 4)
        found = published_measures(x, model.observe(states)[len(x) // 4 :, 0])
        error = prediction_error(model, [x], HORIZON, scale=1 / model.std, free_run=_runner(model)).value
    return found | {"prediction_error": error}


def _runner(model: TrainedModel) -> FreeRun:
    def run(z0: np.ndarray, n_steps: int, drive: Drive | None) -> np.ndarray:
        return free_run(model, z0, n_steps, drive=drive)

    return run


def default_amounts(system: System, rows: np.ndarray) -> dict[str, Any]:
    """Updates and seeds of the default parameters, asked for by number with a budget that does not strike on a busy machine."""
    spec = TrainSpec.model_validate(WHOLE_SERIES)
    settings = resolve(spec, split([(0, rows)], spec), rows.shape[1], system.dt, None)
    return {"updates": settings.updates, "seeds": settings.seeds, "budget_seconds": 3600}


def load(folder: Path, system: System) -> tuple[np.ndarray, np.ndarray]:
    rows, test = (np.load(folder / file).astype(float) for file in (system.train, system.test))
    return rows, test


def fit(
    system: System, rows: np.ndarray, analysis: LyapunovAnalysis | None, spec: TrainSpec
) -> tuple[TrainedModel, TrainingHistory]:
    """Train as the service does."""
    return train(
        [(0, rows)],
        channels=[f"x{i}" for i in range(rows.shape[1])],
        dt=system.dt,
        time_unit=system.time_unit,
        spec=spec,
        analysis=analysis,
        reporter=Reporter(),
    )


def run_once(
    system: System, rows: np.ndarray, test: np.ndarray, analysis: LyapunovAnalysis, spec: TrainSpec
) -> dict[str, Any]:
    """One training as the service does it, and what came of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        model, history = fit(system, rows, analysis, spec)
    except Diverged as error:
        return dict.fromkeys(KEYS) | {"seed": spec.seed, "verdict": "diverged", "detail": str(error)}
    spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    report = evaluate(
        model, [test], spec=EvaluateSpec(), lambda_max=analysis.lambda_max.value, reference_steps=(0, len(test))
    )
    exponents = report.lyapunov_spectrum.exponents
    return measure(model, test) | {
        "seed": spec.seed,
        "verdict": report.verdict,
        "lambda_max": exponents[0] if exponents else None,
        "d_stsp_five_starts": report.d_stsp.value,
        "updates": history.updates,
        "budget": history.settings["why"].get("budget"),
        "training_seconds": history.seconds,
        "compile_seconds": history.compile_seconds,
        "seeds": [s.outcome for s in history.seeds],
        "kept_validation": next(s.validation for s in history.seeds if s.kept),
        **spent,
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Median and median absolute deviation; an undefined value counts as infinite."""
    out: dict[str, Any] = {"runs": len(runs)}
    for key in (*KEYS, "lambda_max", "cpu_seconds", "wall_seconds"):
        values = [np.inf if r.get(key) is None else r[key] for r in runs]
        middle = statistics.median(values)
        with np.errstate(invalid="ignore"):
            out[key] = middle if np.isfinite(middle) else None
            out[f"{key}_deviation"] = (
                statistics.median(abs(v - middle) for v in values) if np.isfinite(middle) else None
            )
            out[f"{key}_worst"] = max(values) if np.isfinite(max(values)) else None
    for verdict in ("collapsed", "diverged"):
        out[verdict] = sum(r["verdict"] == verdict for r in runs)
    out["lost_from_the_published_start"] = sum(r["d_h"] is None or r["d_h"] > LOST for r in runs)
    return out


# ---- output


def line(name: str, values: dict[str, Any]) -> str:
    def number(key: str) -> str:
        value, spread = values.get(key), values.get(f"{key}_deviation")
        if value is None:
            return "-"
        return f"{value:.3g}" + (f" ± {spread:.2g}" if spread is not None else "")

    return f"  {name:36s}" + "".join(f"{number(key):>20s}" for key in KEYS)


def benchmark(name: str, folder: Path, runs: int, patient: bool) -> dict[str, Any]:
    system = SYSTEMS[name]
    rows, test = load(folder, system)
    amounts = default_amounts(system, rows) if patient else {}
    print(f"\n{name}: {system.note}\n  {'':36s}{'d_stsp':>20s}{'d_h':>20s}{'PE(20)':>20s}", flush=True)
    began = time.process_time()
    analysis = analyze([rows], dt=system.dt, time_unit=system.time_unit, spec=LyapunovSpec())
    analysis_seconds = time.process_time() - began
    done = []
    for k in range(runs):
        spec = TrainSpec.model_validate({"seed": SEED_STRIDE * (k + 1), **WHOLE_SERIES, **amounts})
        done.append(run_once(system, rows, test, analysis, spec))
        print(line(f"run {k + 1}: {done[-1]['verdict']}", done[-1]), flush=True)
    total, others = summary(done), baselines(name, rows, test)
    print(line(f"this service, median of {runs}", total))
    for method, *values in system.published:
        print(line(f"published: {method}", dict(zip(KEYS, values, strict=True))))
    for method, found in others.items():
        print(line(method, found))
    cpu, wall = total["cpu_seconds"], total["wall_seconds"]
    astray = total["lost_from_the_published_start"]
    lost = f"{total['collapsed']} collapsed, {total['diverged']} diverged, {astray} lost from the published start"
    print(
        f"  {lost}; median {cpu or 0:.1f} CPU s, {wall or 0:.1f} s a run; lambda_max {total['lambda_max']}", flush=True
    )
    return {
        "note": system.note,
        "analysis": {"lambda_max": analysis.lambda_max.value, "cpu_seconds": analysis_seconds},
        "summary": total,
        "runs": done,
        "published": [dict(zip(("method", *KEYS), row, strict=True)) for row in system.published],
        "baselines": others,
    }


# ---- seconds to quality


def race(folder: Path, n_seeds: int = 5, schedules: tuple[int, ...] = (3000, 6000, 12_000, 20_000)) -> dict[str, Any]:
    """Lorenz-63, one seed a run: quality at the end of schedules of several lengths, and CPU seconds until then.

    Quality is the median over free runs from five starts of the test series: seeds one by one are too often lost from its first.

    The eager torch reference does the same updates on the same sequences (its gradients agree to 1e-5), so its seconds are
    updates over its rate, measured here in the same process at the same size.
    """
    rows, test = load(folder, SYSTEMS["lorenz"])
    print(f"\nseconds to quality, Lorenz-63, median of {n_seeds} seeds")
    titles = ("updates", "compiled CPU s", "eager CPU s", "d_stsp", "d_h", "best so far")
    print("".join(f"{title:>16s}" for title in titles))
    table: list[dict[str, Any]] = []
    eager_rate, best = 0.0, np.inf
    for updates in schedules:
        runs = [_timed(rows, test, {"seeds": 1, "updates": updates, "seed": k, **WHOLE_SERIES}) for k in range(n_seeds)]
        if not eager_rate:
            eager = engines(3, SHALLOW | runs[0]["sizes"])[1]
            assert isinstance(eager, ReferenceEngine)
            eager_rate = updates_per_second(eager, 6.0)
        middle = [_median([r[key] for r in runs]) for key in ("seconds", "d_stsp", "d_h")]
        best = min(best, middle[1])
        values = (updates, middle[0], updates / eager_rate, middle[1], middle[2], best)
        print("".join(f"{value:16.3g}" for value in values), flush=True)
        names = ("updates", "seconds", "eager_seconds", "d_stsp", "d_h", "best_so_far")
        table.append(dict(zip(names, values, strict=True)) | {"runs": runs})
    return {"eager_updates_per_second": eager_rate, "schedules": table}


def _timed(rows: np.ndarray, test: np.ndarray, spec: dict[str, Any]) -> dict[str, Any]:
    """One run without an analysis: CPU seconds of training and judging, compilation not counted, and its quality."""
    began = time.process_time()
    model, history = fit(SYSTEMS["lorenz"], rows, None, TrainSpec.model_validate(spec))
    spent = time.process_time() - began - history.compile_seconds
    sizes = {name: history.settings[name] for name in ("hidden_dim", "sequence_length")}
    report = evaluate(
        model, [test], spec=EvaluateSpec(lyapunov_steps=1000), lambda_max=None, reference_steps=(0, len(test))
    )
    return {"seconds": spent, "sizes": sizes, "d_stsp": report.d_stsp.value, "d_h": report.d_h.value}


def _median(values: list[float | None]) -> float:
    return float(statistics.median(np.inf if v is None else v for v in values))


def data_folder(given: Path | None, systems: list[str]) -> Path | None:
    """The folder with the series; None where nobody named one. Ends the program where it lacks one of them."""
    named = given or (
        Path(os.environ["ATTRACTOR_BENCHMARK_DATA"]) if "ATTRACTOR_BENCHMARK_DATA" in os.environ else None
    )
    if named is None:
        return None
    wanted = sorted({file for s in systems for file in (SYSTEMS[s].train, SYSTEMS[s].test)})
    if missing := [file for file in wanted if not (named / file).is_file()]:
        raise SystemExit(f"{named} lacks {', '.join(missing)}; see the head of {Path(__file__).name} for their source.")
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with the series")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument(
        "--patient", action="store_true", help="let no budget strike: for machines with other work to do"
    )
    parser.add_argument("--race", action="store_true", help="seconds to quality against eager torch as well")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    arguments = parser.parse_args()
    folder = data_folder(arguments.data, arguments.systems)
    if folder is None:
        print(
            "Skipped: no data. Name their folder by --data or ATTRACTOR_BENCHMARK_DATA; --help says which and whence."
        )
        return
    document: dict[str, Any] = {"machine": machine(), "protocol": "Hess et al. 2023", "systems": {}}
    for name in arguments.systems:
        document["systems"][name] = benchmark(name, folder, arguments.runs, arguments.patient)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.race:
        document["seconds_to_quality"] = race(folder)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
