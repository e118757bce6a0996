// What was learned: verdicts in plain words, key figures, attractors, spectra, measures, training, downloads.
import { get } from "./api.js";
import { duration, el, interval, num, plural, table, warningList, withUnit } from "./dom.js";
import { legend, lineChart, spectrumChart } from "./charts.js";
import { downloadLink } from "./download.js";
import { attractors } from "./attractor.js";
import { diagnosticsCard } from "./diagnostics.js";
import { forecastCard, forecastView } from "./forecast.js";
import { evaluationView } from "./evaluation.js";
import { figuresDrawer } from "./figures.js";
import { measuresCard } from "./measures.js";

/** The view of a job's result. */
export function resultOf(context, { type, id }) {
  return { analysis: analysisView, model: modelView, forecast: forecastView, evaluation: evaluationView }[type](context, id, true);
}

export async function analysisView(context, id, embedded = false) {
  const analysis = await get(`/v1/analyses/${id}`);
  return el("div", {}, embedded ? null : el("h1", {}, "Lyapunov analysis"), verdictCard(analysis, null), spectrumCard(analysis, null), diagnosticsCard(analysis), figuresDrawer([["Figures of the analysis", `/v1/analyses/${id}`]]));
}

export async function modelView(context, id, embedded = false) {
  const model = await get(`/v1/models/${id}`);
  const [analysis, series] = await Promise.all([
    model.analysis_id ? get(`/v1/analyses/${model.analysis_id}`) : null,
    get(`/v1/series/${model.series_id}`).catch(() => null), // deleted since: the model stays
  ]);
  return el(
    "div",
    {},
    embedded ? null : [el("p.fine", {}, "Model of ", el("a", { href: `#${model.series_id}` }, "this series")), el("h1", {}, series?.name || id)],
    verdictCard(analysis, model.report),
    attractorCard(model.report, model.channels, analysis, model.input_channels?.length > 0),
    spectrumCard(analysis, model.report),
    analysis ? diagnosticsCard(analysis) : null,
    await forecastCard(context, model, series),
    measuresCard(model.report),
    trainingCard(model),
    downloadsCard(model, analysis),
  );
}

function figure(name, value, ...notes) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, el("span.value", {}, value), notes.filter(Boolean).map((note) => el("div.fine", {}, note))));
}

/** What the analysis could not give is said once, with the largest exponent; the other figures stay away then. */
function analysisFigures({ lambda_max: top, predictability, kaplan_yorke_dimension: dimension }) {
  const figures = [figure("Largest Lyapunov exponent", withUnit(top.value, top.unit), interval(top.ci, top.level), top.reason)];
  if (predictability.time !== null) {
    figures.push(figure("Predictability time", withUnit(predictability.time, predictability.unit), `${plural(predictability.steps, "step")}: an error doubles`));
  }
  if (dimension.value !== null) figures.push(figure("Kaplan–Yorke dimension", num(dimension.value), interval(dimension.ci, dimension.level)));
  return figures;
}

function validPrediction(valid) {
  const starts = `median of ${plural(valid.n_starts, "start")}`;
  const lyapunov = valid.median_lyapunov_times === null ? "" : `${num(valid.median_lyapunov_times)} Lyapunov times, `;
  return figure("Valid prediction", withUnit(valid.median_time, valid.unit), valid.median_time === null ? valid.reason : `${lyapunov}${starts}`);
}

function verdictCard(analysis, report) {
  const figures = [...(analysis ? analysisFigures(analysis) : []), ...(report ? [validPrediction(report.valid_prediction_time)] : [])];
  return el(
    "section.card",
    {},
    el("h2", {}, "In plain words"),
    analysis ? el("p", {}, el(`span.badge.${analysis.verdict.kind}`, {}, analysis.verdict.kind), " ", analysis.verdict.detail) : null,
    report ? el("p", {}, el(`span.badge.${report.verdict}`, {}, `reconstruction: ${report.verdict}`), " ", report.detail) : null,
    el("dl.figures", {}, figures),
    warningList([...(analysis?.warnings ?? []), ...(report?.warnings ?? [])]),
    analysis ? evidence(analysis.verdict) : null,
  );
}

function evidence(verdict) {
  if (!verdict.evidence.length) return null;
  return el(
    "details",
    {},
    el("summary", {}, "Why this verdict"),
    table(["Test", "Value", "Speaks for", "What was seen"], verdict.evidence.map((e) => [e.test, num(e.value), e.supports, e.detail]), "Evidence"),
  );
}

function attractorCard(report, channels, analysis, driven) {
  const { samples } = report;
  if (!samples.true?.length || !samples.generated?.length) return null;
  const delay = analysis?.embedding.delay_steps ?? Math.max(1, analysis?.embedding.lags?.[1] ?? 1);
  return el(
    "section.card",
    {},
    el("h2", {}, "The attractor and its reconstruction"),
    attractors(samples, channels, delay),
    el("p.fine", {}, channels.length >= 3 ? "Drag to turn both together; arrow keys do the same. " : "", `Both in the range of the data. The reconstruction is a free run: it saw the data's first state only${driven ? ", and the recorded inputs" : ""}.`),
  );
}

function spectrumCard(analysis, report) {
  const sources = [];
  if (analysis) sources.push({ ...analysis.lyapunov_spectrum, name: "Data", kind: "data" });
  if (report) sources.push({ ...report.lyapunov_spectrum, name: "Model", kind: "model" });
  const given = sources.filter((s) => s.exponents.length);
  const unit = sources[0]?.unit;
  const rows = Array.from({ length: Math.max(0, ...given.map((s) => s.exponents.length)) }, (_, i) => [
    `λ${i + 1}`,
    ...given.flatMap((s) => (s.ci ? [num(s.exponents[i], 4), interval(s.ci[i])] : [num(s.exponents[i], 4)])),
  ]);
  const head = ["", ...given.flatMap((s) => (s.ci ? [s.name, `${Math.round((s.level ?? 0.9) * 100)} % interval`] : [s.name]))];
  return el(
    "section.card",
    {},
    el("h2", {}, "Lyapunov spectrum"),
    given.length ? [legend(given.map((s) => [s.kind, s.name])), spectrumChart(given, unit), table(head, rows, `Exponents in ${unit} (nats)`)] : null,
    sources.filter((s) => s.reason).map((s) => el("p.fine", {}, `${s.name}: ${s.reason}`)),
    given.filter((s) => s.method).map((s) => el("p.fine", {}, `${s.name}: ${s.method}`)),
    report?.lambda_max_comparison?.detail ? el("p", {}, report.lambda_max_comparison.detail) : null,
  );
}

function trainingCard(model) {
  const { training } = model;
  const { loss } = training;
  return el(
    "section.card",
    {},
    el("h2", {}, "How it was learned"),
    el("p", {}, `${model.architecture}, ${num(model.latent_dim)} latent ${model.hidden_dim ? `and ${num(model.hidden_dim)} hidden units` : "units"}, ${num(model.n_parameters)} parameters; ${num(training.updates)} updates in ${duration(training.seconds)}.`, model.input_channels?.length ? ` Driven by ${model.input_channels.join(", ")}.` : null),
    loss.length > 1
      ? lineChart({ lines: [{ x: loss.map((p) => p[0]), y: loss.map((p) => (p[1] > 0 ? Math.log10(p[1]) : null)), kind: "model" }], xLabel: "update", yLabel: "log₁₀ loss", height: 160, label: "Training loss" })
      : null,
    table(
      ["Seed", "", "Outcome", "Updates", "Final loss", "Why"],
      training.seeds.map((run) => [run.seed, run.kept ? "kept" : "", run.outcome, num(run.updates), num(run.final_loss), run.why]),
      "Training runs",
    ),
    el("details", {}, el("summary", {}, "Every setting"), el("pre.scroll", { tabindex: "0" }, el("code", {}, JSON.stringify(training.settings, null, 2)))),
  );
}

function downloadsCard(model, analysis) {
  const files = model.artifacts.map((a) => [a.href, a.name, a.name]);
  files.push([`/v1/models/${model.id}`, "model and report (JSON)", `${model.id}.json`]);
  if (analysis) files.push([`/v1/analyses/${analysis.id}`, "analysis (JSON)", `${analysis.id}.json`]);
  const drawn = [["Figures of the model", `/v1/models/${model.id}`], ...(analysis ? [["Figures of the analysis", `/v1/analyses/${analysis.id}`]] : [])];
  return el("section.card", {}, el("h2", {}, "Take it along"), el("p.inline", {}, files.map(([href, text, name]) => downloadLink("a.button", href, name, text))), figuresDrawer(drawn));
}
