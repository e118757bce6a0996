"""Lists and results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from attractor_client import Analysis, Forecast, Job, Model, Sample, Series

COLOURS = {"succeeded": "green", "failed": "red", "canceled": "yellow", "running": "cyan", "paused": "magenta"}


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=SIMPLE_HEAD)
    made.padding, made.pad_edge = (0, 1, 0, 0), False  # a terminal of 80 columns has room for an id and little else
    for place, name in enumerate(columns):
        made.add_column(name, overflow="fold", no_wrap=place == 0)  # ids and names are there to be copied
    for row in rows:
        made.add_row(*(str(cell) for cell in row))
    return made


def when(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def series(found: Iterable[Series]) -> Table:
    rows = (
        (s.id, s.name or "", f"{s.n_steps:,}", ", ".join(s.channels[:5]), f"{s.dt:g} {s.time_unit}", when(s.created_at))
        for s in found
    )
    return table("Series", ("id", "name", "steps", "channels", "dt", "uploaded"), rows)


def recordings(found: Series) -> Table:
    rows = ((r.name, f"{r.stop - r.start:,}", f"{r.start:,}") for r in found.profile.recordings)
    return table("Recordings", ("name", "steps", "first row"), rows)


def samples(found: Iterable[Sample]) -> Table:
    rows = (
        (
            s.name,
            s.title,
            ", ".join(s.channels[:5]),
            f"{s.dt:g} {s.time_unit}",
            f"{s.lambda_max:.4g} {s.known.unit}",
            s.expect,
        )
        for s in found
    )
    return table("Samples", ("name", "system", "channels", "dt", "largest exponent", "what to expect"), rows)


def issues(found: Series) -> Table:
    rows = ((i.severity, i.code, i.detail) for i in found.profile.issues)
    return table("What the audit says", ("", "code", "detail"), rows)


def jobs(found: Iterable[Job[Any]]) -> Table:
    rows = []
    for job in found:
        state = job.state
        status = f"[{COLOURS.get(state.status, 'default')}]{state.status}[/]"
        made = state.result.id if state.result else state.error.code if state.error else ""
        rows.append((state.id, state.kind, status, f"{state.progress.fraction:.0%}", when(state.created_at), made))
    return table("Jobs", ("id", "kind", "status", "done", "submitted", "result"), rows)


def models(found: Iterable[Model]) -> Table:
    rows = (
        (
            m.id,
            m.architecture,
            f"{m.n_parameters:,}",
            ", ".join(m.channels[:5]),
            m.report.verdict,
            m.report.d_stsp,
            when(m.created_at),
        )
        for m in found
    )
    return table("Models", ("id", "architecture", "parameters", "channels", "verdict", "d_stsp", "trained"), rows)


def fields(title: str, found: Mapping[str, object]) -> Table:
    return table(title, ("", ""), found.items())


def analysis(found: Analysis) -> Table:
    times = found.predictability
    exponents = ", ".join(f"{value:.4g}" for value in found.lyapunov_spectrum.exponents)
    return fields(
        f"Analysis {found.id}",
        {
            "verdict": f"{found.verdict.kind}: {found.verdict.detail}",
            "largest exponent": found.lambda_max,
            "spectrum": f"{exponents} {found.lyapunov_spectrum.unit}" if exponents else found.lyapunov_spectrum.reason,
            "an error doubles every": f"{times.time:.4g} {times.unit}" if times.time else times.reason,
            "Kaplan-Yorke dimension": found.kaplan_yorke_dimension,
        },
    )


def model(found: Model) -> Table:
    report = found.report
    return fields(
        f"Model {found.id}",
        {
            "architecture": f"{found.architecture}, {found.n_parameters:,} parameters, {found.latent_dim} units",
            "channels": ", ".join(found.channels),
            "verdict": f"{report.verdict}: {report.detail}",
            "d_stsp": f"{report.d_stsp} ({report.d_stsp.variant})",
            "d_h": f"{report.d_h} ({report.d_h.variant})",
            "prediction error": report.prediction_error,
            "analysis": found.analysis_id or "",
            "series": found.series_id,
        },
    )


def forecast(found: Forecast, rows: int = 10) -> Table:
    """The first rows."""
    columns = found.columns()
    shown = ([f"{column[t]:.6g}" for column in columns.values()] for t in range(min(rows, found.horizon_steps)))
    title = (
        f"Forecast of {found.horizon_steps} steps, trusted for {found.trusted_steps}"
        if found.trusted_steps
        else "Forecast"
    )
    return table(title, columns, shown)
