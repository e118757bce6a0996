"""The sections of a report, from the stored documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from api.reports.content import Block, Facts, Items, Picture, Report, Section, Table, Text
from api.reports.gathering import Gathered
from api.reports.references import references
from domain.errors import NotFound
from figures.parts import Figure
from figures.words import interval, num, quantity, sentence, subscript, with_unit
from store.tables import SeriesRow

Draw = Callable[[str, str], Figure]
"""(kind of result, name) -> its figure; NotFound, with the reason, where there is none."""

_HEIGHTS = {"spectrum": 350, "divergence": 400, "methods": 360}
MAX_ROWS = 40  # of a table: channels, issues, seeds
_MEASURES = {
    "d_stsp": "Do both visit the same places? Divergence between the distributions of states; 0 is the same.",
    "d_stsp_long": "The same against a long free run with measurement noise: less biased by a short series.",
    "d_h": "Do both have the same rhythms? Hellinger distance of the power spectra; 0 to 1.",
    "prediction_error": "Squared error after a few free steps, in units of the variance; 1 is predicting the mean.",
}


def build(found: Gathered, forecast: dict[str, Any] | None, origin: str, draw: Draw) -> Report:
    """The whole report. `origin` says what the forecast is, or why there is none."""
    model, row = found.model, found.series
    name = (row.name if row else None) or ", ".join(model["channels"][:5])
    return Report(
        title=f"Reconstruction of {name}",
        subtitle=f"Model {model['id']}, made {model['created_at'][:16].replace('T', ' ')} UTC",
        summary=[*_summary(model, found.analysis), *_pictures(draw, "model", ["attractor"])],
        sections=[
            Section("Data", _data(model, row)),
            Section("What the data say", _analysis(found.analysis, draw)),
            Section("Training", _training(model, draw)),
            Section("The model on data that it has not seen", _evaluation(model, draw)),
            Section("Forecast", _forecast(forecast, origin, draw)),
            Section("Settings", _settings(model)),
            Section("To do it again", _provenance(found)),
            Section("References", [Items(references(model, found.analysis), ordered=True)]),
        ],
        made=model["created_at"],
        version=version("attractor"),
    )


def _summary(model: dict[str, Any], analysis: dict[str, Any] | None) -> list[Block]:
    report = model["report"]
    rows = []
    if analysis is not None:
        rows.append(("The series", _said(analysis["verdict"]["kind"], analysis["verdict"]["detail"])))
        rows.append(("Largest Lyapunov exponent", _value(analysis["lambda_max"])))
        rows.append(("An error doubles in", _predictability(analysis["predictability"])))
    rows.append(("The reconstruction", _said(report["verdict"], report["detail"])))
    rows.append(("Forecasts hold for", _valid_time(report["valid_prediction_time"])))
    return [Facts(rows)]


def _data(model: dict[str, Any], row: SeriesRow | None) -> list[Block]:
    if row is None:
        sampling = f"sampled every {with_unit(model['dt'], model['time_unit'])}"
        return [Text(f"The series is not stored: {len(model['channels'])} channels, {sampling}.")]
    profile, source = row.profile, row.source
    facts = [
        ("Series", row.id),
        ("Rows", f"{row.n_steps:,}, {profile['n_usable_steps']:,} of them usable"),
        ("Sampled every", with_unit(row.dt, row.time_unit)),
        ("Duration", with_unit(profile["duration"], row.time_unit)),
        ("Came as", _source(source)),
        ("SHA-256 of the content", row.content_hash),
    ]
    used, inputs = model["channels"], model["input_channels"]
    roles = dict.fromkeys(used, "learned") | dict.fromkeys(inputs, "input")
    channels = [
        (c["name"], roles.get(c["name"], "left out"), *(num(c[k], 4) for k in ("minimum", "maximum", "mean", "std")), f"{c['n_missing']:,}")
        for c in profile["channels"]
    ]  # fmt: skip
    header = ("channel", "role", "minimum", "maximum", "mean", "std", "missing")
    blocks: list[Block] = [Facts(facts), _table(header, channels, "channels", numbers=range(2, 7))]
    issues = [(i["severity"], i["detail"]) for i in profile["issues"]]
    if not issues:
        return [*blocks, Text("The audit found nothing to complain of: evenly sampled, no gaps, no missing values.")]
    return [*blocks, _table(("", "what the audit found"), issues, "findings", shares=(1, 6))]


def _source(source: dict[str, Any]) -> str:
    if source["format"] == "sample":
        return f"sample {source['sample']}, noise {100 * source['noise']:g} %, seed {source['seed']}"
    name = f" ({source['file_name']})" if source.get("file_name") else ""
    size = f", {source['bytes']:,} bytes" if "bytes" in source else ""
    return f"{source['format']}{name}{size}"


def _analysis(analysis: dict[str, Any] | None, draw: Draw) -> list[Block]:
    if analysis is None:
        return [Text("The analysis that tuned the training is not stored.")]
    verdict = analysis["verdict"]
    evidence = [(e["test"], num(e["value"]), _supports(e["supports"]), e["detail"]) for e in verdict["evidence"]]
    facts = [
        ("Kaplan-Yorke dimension", _value(analysis["kaplan_yorke_dimension"])),
        ("Kolmogorov-Sinai entropy", _value(analysis["ks_entropy"])),
        ("Correlation dimension", _value(analysis.get("correlation_dimension") or {"reason": "not measured"})),
        ("State space", _embedding(analysis["embedding"])),
    ]
    return [
        Text(_said(verdict["kind"], verdict["detail"]), strong=True),
        *_pictures(draw, "analysis", ["spectrum"]),
        _exponents({"data": analysis["lyapunov_spectrum"]}),
        Facts(facts),
        _table(("evidence", "value", "speaks for", ""), evidence, "tests", numbers=[1], shares=(1.9, 0.9, 1, 5)),
        *_pictures(draw, "analysis", ["methods", "divergence", "surrogates", "embedding"]),
        *_warnings(analysis),
    ]


def _supports(kind: str) -> str:
    return "" if kind == "none" else kind


def _embedding(embedding: dict[str, Any]) -> str:
    kinds = {"none": "the channels themselves", "delay": "delays", "principal-components": "principal components"}
    delay = f", delay {embedding['delay_steps']} steps" if embedding["delay_steps"] else ""
    return f"{kinds[embedding['kind']].capitalize()}, dimension {embedding['dimension']}{delay}. {embedding['reason']}".strip()


def _beside(model: dict[str, Any], kind: str) -> str:
    """The channels of inputs or nuisance, and the series that hold some of them."""
    names = ", ".join(model.get(f"{kind}_channels", ())) or "none"
    held = [f"{', '.join(part['channels'])} in series {part['series_id']}" for part in model.get(f"{kind}_series", ())]
    return f"{names} ({'; '.join(held)})" if held else names


def _training(model: dict[str, Any], draw: Draw) -> list[Block]:
    training = model["training"]
    hidden = f", {model['hidden_dim']} hidden units" if model["hidden_dim"] else ""
    parts = [
        (n, training[f"{k}_steps"]) for n, k in (("training", "train"), ("validation", "validation"), ("test", "test"))
    ]
    facts = [
        ("Architecture", f"{model['architecture']}, {model['latent_dim']} latent units{hidden}, {model['n_parameters']:,} parameters"),
        ("Teacher forcing", _flat(model["forcing"])),
        ("Observation", _flat(model["observation"])),
        ("Delay embedding", "none" if model["lags"] == [0] else f"lags {', '.join(map(str, model['lags']))} steps"),
        ("Inputs", _beside(model, "input")),
        ("Nuisance", _beside(model, "nuisance")),
        ("Rows", "; ".join(f"{n} {a:,} to {b:,}" for n, (a, b) in parts)),
        ("Kept", f"{training['updates']:,} updates; {num(training['seconds'])} s of training, {training['engine']}"),
    ]  # fmt: skip
    scores = ("d_stsp", "d_h", "prediction_error")
    seeds = [
        (
            str(s["seed"]),
            "kept" if s["kept"] else s["outcome"],
            f"{s['updates']:,}",
            num(s["final_loss"]),
            *(num(s["validation"].get(score)) for score in scores),
            s["why"],
        )
        for s in training["seeds"]
    ]
    header = ("seed", "", "updates", "loss", "d_stsp", "d_h", "error", "why")
    shares = (0.6, 0.8, 1, 1, 1, 1, 1, 3.5)
    return [
        Facts(facts),
        *_pictures(draw, "model", ["training"]),
        _table(header, seeds, "runs", numbers=range(2, 7), shares=shares),
    ]


def _evaluation(model: dict[str, Any], draw: Draw) -> list[Block]:
    report = model["report"]
    first, last = report["reference_steps"]
    rows = [
        (name, _measure(report[name]), num(report[name]["floor"]) if report[name]["floor"] is not None else "", report[name]["variant"], meaning)
        for name, meaning in _MEASURES.items()
        if report.get(name)
    ]  # fmt: skip
    spectra = {"model": report["lyapunov_spectrum"]}
    comparison = report.get("lambda_max_comparison") or {}
    return [
        Text(_said(report["verdict"], report["detail"]), strong=True),
        Text(
            f"Measured on the rows {first:,} to {last:,}. Smaller is better; no model can be expected below the floor, which "
            "is what one piece of the true series scores against another. Values of different variants are not comparable."
        ),
        Table(("measure", "value", "floor", "variant", "meaning"), rows, "", frozenset({1, 2}), (1.4, 0.8, 0.7, 1.3, 4)),
        Facts([("Valid prediction time", _valid_time(report["valid_prediction_time"]))]),
        *_counted(report.get("counted_channels") or []),
        *_pictures(draw, "model", ["time-series", "power-spectra", "histograms"]),
        *_pictures(draw, "model", ["spectrum"]),
        _exponents(spectra),
        *([Text(comparison["detail"])] if comparison.get("detail") else []),
        *_pictures(draw, "model", ["prediction-error"]),
        *_warnings(report),
    ]  # fmt: skip


def _counted(channels: list[dict[str, Any]]) -> list[Block]:
    if not channels:
        return []
    names = ("log_likelihood", "marginal", "persistence", "total_variation", "total_variation_floor")
    rows = [(c["channel"], c["kind"], *(num(c[name]) for name in names)) for c in channels]
    said = (
        f"Counts and classes, {channels[0]['horizon_steps']:,} steps ahead: mean log-likelihoods of what was recorded in nats a row, larger is "
        "better, by the model, by the channel's overall distribution, and by no change; the total variation between recorded and generated values."
    )
    heads = ("channel", "kind", "model", "overall", "no change", "total variation", "its floor")
    return [Text(said), Table(heads, rows, "", frozenset(range(2, 7)), (1.6, 1.2, 1, 1, 1, 1.2, 1))]


def _forecast(forecast: dict[str, Any] | None, origin: str, draw: Draw) -> list[Block]:
    if forecast is None:
        return [Text(origin)]
    trusted = forecast["trusted_steps"]
    facts = [
        ("From", f"row {forecast['start']['index']:,}" if forecast["start"]["index"] is not None else "rows that were sent along"),
        ("Length", f"{forecast['horizon_steps']:,} steps"),
        ("Trusted for", "unknown" if trusted is None else f"{trusted:,} steps"),
        ("An error doubles in", _predictability(forecast["predictability"])),
    ]  # fmt: skip
    return [Text(origin), Facts(facts), *_pictures(draw, "forecast", ["forecast"]), *_warnings(forecast)]


def _settings(model: dict[str, Any]) -> list[Block]:
    """Every setting after `auto` was resolved, and why it is so."""
    settings = dict(model["training"].get("settings") or {})
    why = settings.pop("why", {})
    rows = [(name, _plain(value), str(why.get(name, ""))) for name, value in settings.items()]
    rows += [(name, "", str(text)) for name, text in why.items() if name not in settings]
    return [Table(("setting", "value", "why"), rows, "", shares=(1.4, 2.2, 4))]


def _provenance(found: Gathered) -> list[Block]:
    model = found.model
    kept = [str(s["seed"]) for s in model["training"]["seeds"] if s["kept"]]
    facts = [
        ("Series", model["series_id"] or "none: the model was imported"),
        ("Analysis", model["analysis_id"] or "none"),
        ("Job", model["job_id"] or "none"),
        ("Seeds", f"{(model['training'].get('settings') or {}).get('seed', 'unknown')} of the job; run {', '.join(kept) or 'none'} was kept"),
        ("Written by", f"attractor {version('attractor')}"),
    ]  # fmt: skip
    files = [(a["name"], f"{a['bytes']:,}", a["sha256"]) for a in model["artifacts"]]
    return [Facts(facts), Table(("file", "bytes", "SHA-256"), files, "", frozenset({1}), (1.3, 0.7, 4))]


def _pictures(draw: Draw, kind: str, names: Sequence[str]) -> list[Picture]:
    """The figures of these names that the result has."""
    found = []
    for name in names:
        try:
            figure = draw(kind, name)
        except NotFound:
            continue
        found.append(
            Picture(
                figure, ". ".join(t.rstrip(".") for t in (figure.title, figure.subtitle) if t) + ".", _HEIGHTS.get(name)
            )
        )
    return found


def _exponents(spectra: Mapping[str, dict[str, Any]]) -> Block:
    (name, spectrum), *_ = spectra.items()
    if not spectrum["exponents"]:
        return Text(f"No spectrum of the {name}: {sentence(spectrum['reason'] or 'none was measured')}")
    intervals = spectrum["ci"] or [None] * len(spectrum["exponents"])
    rows = [
        (f"λ{subscript(i + 1)}", num(e, 4), interval(ci, spectrum["level"]))
        for i, (e, ci) in enumerate(zip(spectrum["exponents"], intervals, strict=True))
    ]
    caption = f"Exponents of the {name} in {spectrum['unit']}" + (
        f", by {spectrum['method']}" if spectrum["method"] else ""
    )
    return _table(("", "value", "interval"), rows, "exponents", caption=caption, numbers=[1], shares=(0.6, 1.2, 6))


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    what: str,
    *,
    caption: str = "",
    numbers: Sequence[int] | range = (),
    shares: Sequence[float] = (),
) -> Table:
    """At most MAX_ROWS rows, and how many more there are."""
    if len(rows) > MAX_ROWS:
        caption = f"{caption + '. ' if caption else ''}The first {MAX_ROWS} of {len(rows):,} {what}"
    return Table(header, rows[:MAX_ROWS], caption, frozenset(numbers), shares)


def _warnings(document: dict[str, Any]) -> list[Block]:
    texts = [warning["detail"] for warning in document["warnings"]]
    return [Items(texts)] if texts else []


def _said(verdict: str, detail: str) -> str:
    return f"{sentence(verdict)} {detail}"


def _value(found: dict[str, Any]) -> str:
    text = quantity(found, "")
    return text.removeprefix(" = ") if found.get("value") is not None else sentence(text.removeprefix(": "))


def _measure(found: dict[str, Any]) -> str:
    return num(found["value"]) if found["value"] is not None else found["reason"] or "none"


def _predictability(found: dict[str, Any]) -> str:
    if found["time"] is None:
        return sentence(found["reason"] or "nothing diverges")
    time = "" if found["unit"] == "step" else f"{with_unit(found['time'], found['unit'])}, "
    return f"{time}{found['steps']:,} steps"


def _valid_time(found: dict[str, Any]) -> str:
    if found["median_time"] is None:
        return sentence(found["reason"] or "unknown")
    times = found["median_lyapunov_times"]
    lyapunov = f" = {num(times)} Lyapunov times" if times is not None else ""
    return (
        f"{with_unit(found['median_time'], found['unit'])}{lyapunov} "
        f"(median of {found['n_starts']} starts, error below {found['threshold']:g} standard deviations)"
    )


def _flat(found: dict[str, Any]) -> str:
    """`{"kind": "gtf", "alpha": 0.15}` as text; what is zero, empty or false says nothing."""
    kind = str(found.get("kind", ""))
    rest = [
        f"{k.replace('_', ' ')} {_plain(v)}"
        for k, v in found.items()
        if k != "kind" and v not in (0, None, False, "", []) and not isinstance(v, dict)
    ]
    read = [f"{name} {part['kind']}" for name, part in (found.get("channel_distributions") or {}).items()]
    return ", ".join([kind, *rest, *read])


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, float):
        return num(value, 6)
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)
