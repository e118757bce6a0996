"""What was learned, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dynamics.samples import Known

COLOURS = {"good": "green", "fair": "yellow", "poor": "red", "diverged": "red", "collapsed": "red", "chaotic": "cyan"}


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}g}"


def between(ci: Sequence[float] | None) -> str:
    """The ends of an interval, with as many digits as tell them apart."""
    if not ci:
        return ""
    digits = next((n for n in range(3, 8) if number(ci[0], n) != number(ci[1], n)), 8)
    return f"{number(ci[0], digits)} … {number(ci[1], digits)}"


def audit(console: Console, series: dict[str, Any]) -> None:
    """The upload, and everything that the audit has to say about it."""
    profile = series["profile"]
    console.print(
        f"  {profile['n_steps']:,} steps of {profile['n_channels']} channels, dt = {series['dt']:g} {series['time_unit']}",
        highlight=False,
    )
    for issue in profile["issues"]:
        rows = f" (rows {', '.join(map(str, issue['rows'][:8]))} …)" if issue["rows"] else ""
        console.print(f"  {issue['severity']}: {issue['detail']}{rows}", highlight=False, markup=False)


def verdicts(console: Console, analysis: dict[str, Any] | None, report: dict[str, Any]) -> None:
    """Both verdicts in plain words, and the warnings."""
    lines = [("reconstruction: " + report["verdict"], report["verdict"], report["detail"])]
    if analysis is not None:
        verdict = analysis["verdict"]
        lines.insert(0, ("the series: " + verdict["kind"], verdict["kind"], verdict["detail"]))
    for title, kind, detail in lines:
        console.print(Text.assemble((title, f"bold {COLOURS.get(kind, '')}".strip()), ". ", detail))
    for warning in [*(analysis or {}).get("warnings", []), *report["warnings"]]:
        console.print(Text.assemble(("note ", "dim"), warning["detail"]))


def learned(analysis: dict[str, Any] | None, model: dict[str, Any], known: Known | None = None) -> Table:
    """Spectra of data and model side by side, and what is known of the system itself, where it is."""
    report = model["report"]
    table = Table(title="Lyapunov spectrum and dimension", title_justify="left")
    for name in ("", "data", "interval", "model", *(["known"] if known else [])):
        table.add_column(name, justify="left" if not name else "right")
    data = analysis["lyapunov_spectrum"] if analysis else {"exponents": [], "ci": None, "unit": ""}
    ours = report["lyapunov_spectrum"]
    for i in range(min(8, max(len(data["exponents"]), len(ours["exponents"])))):
        row = [f"λ{i + 1} in {ours['unit']}", _at(data["exponents"], i), between(_item(data["ci"], i))]
        row.append(_at(ours["exponents"], i))
        table.add_row(*row, *([number(_item(list(known.exponents), i), 4)] if known else []))
    dimension = analysis["kaplan_yorke_dimension"] if analysis else {"value": None, "ci": None}
    model_dimension = number(report["kaplan_yorke_dimension"]["value"])
    row = ["Kaplan-Yorke dimension", number(dimension["value"]), between(dimension["ci"]), model_dimension]
    table.add_row(*row, *([number(known.dimension)] if known else []))
    return table


def _item(values: list[Any] | None, i: int) -> Any:
    return values[i] if values and i < len(values) else None


def _at(values: list[float | None], i: int) -> str:
    return number(_item(values, i))


def measures(title: str, found: dict[str, Any]) -> Table:
    """How good the reconstruction is, with the floor that no model can be expected to beat."""
    table = Table(title=title, title_justify="left")
    for name, justify in (("", "left"), ("model", "right"), ("floor", "right"), ("variant", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("d_stsp", "d_stsp_long", "d_h", "prediction_error"):
        measure = found[name]
        if measure is not None:
            table.add_row(
                name, number(measure["value"]), number(measure["floor"]), measure["reason"] or measure["variant"]
            )
    return table


def lambda_max(analysis: dict[str, Any], known: Known | None = None) -> str:
    top = analysis["lambda_max"]
    if top["value"] is None:
        return f"largest exponent: not available ({top['reason']})"
    line = f"largest exponent: {top['value']:.3f} {top['unit']}"
    if top["ci"]:
        line += f" ({top['level']:.0%} interval {between(top['ci'])})"
    if known:
        true = known.exponents[0]
        line += f"; known {true:.4g}" + (f", off by {abs(top['value'] / true - 1):.1%}" if true else "")
    return line


def predictability(analysis: dict[str, Any]) -> str:
    known = analysis["predictability"]
    if known["time"] is None:
        return f"predictability time: none ({known['reason']})"
    time = "" if known["unit"] == "step" else f"{known['time']:.3g} {known['unit']}, that is "
    return f"predictability time: an error doubles every {time}{known['steps']} steps"


def valid_prediction(report: dict[str, Any]) -> str:
    valid = report["valid_prediction_time"]
    if valid["median_time"] is None:
        return f"valid prediction: not available ({valid['reason']})"
    line = f"valid prediction: {valid['median_time']:.3g} {valid['unit']}"
    if valid["median_lyapunov_times"] is not None:
        line += f" = {valid['median_lyapunov_times']:.2g} Lyapunov times"
    return f"{line} (median of {valid['n_starts']} starts, error below {valid['threshold']:g})"


def timings(seconds: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
