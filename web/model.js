// A model in parts: in short, what the data say, what was learned, forecasts, files.
import { get } from "./api.js";
import { duration, el, num, plural, table, warningList, withUnit } from "./dom.js";
import { analysisCards, analysisFigures, exponentTable, figure, verdict } from "./analysis.js";
import { attractors } from "./attractor.js";
import { filesCard } from "./files.js";
import { figuresOf } from "./figures.js";
import { forecastCard } from "./forecast.js";
import { measuresCard } from "./measures.js";
import { vectorsCard } from "./recordings.js";
import { tabs } from "./tabs.js";

const PARTS = [["", "In short"], ["data", "The data"], ["model", "The model"], ["forecast", "Forecast"], ["files", "Take it along"]];

export async function modelView(context, id, part = "", embedded = false) {
  const model = await get(`/v1/models/${id}`);
  const [analysis, series] = await Promise.all([
    model.analysis_id ? get(`/v1/analyses/${model.analysis_id}`) : null,
    model.series_id ? get(`/v1/series/${model.series_id}`).catch(() => null) : null, // deleted since, or imported: the model stays
  ]);
  const known = PARTS.some(([name]) => name === part) ? part : "";
  return el(
    "div",
    {},
    embedded ? null : [origin(model), el("h1", {}, series?.name || id)],
    tabs(id, PARTS.filter(([name]) => name !== "data" || analysis), known),
    await partOf(known, { context, model, analysis, series }),
  );
}

function origin({ series_id: id }) {
  return el("p.fine", {}, id ? ["Model of ", el("a", { href: `#${id}` }, "this series")] : "Model imported from a file");
}

function partOf(part, { context, model, analysis, series }) {
  if (part === "data" && analysis) return analysisCards(analysis);
  if (part === "model") return learned(model, analysis);
  if (part === "forecast") return forecastCard(context, model, series);
  if (part === "files") return filesCard(model, analysis, series);
  return inShort(model, analysis);
}

function inShort(model, analysis) {
  const { report } = model;
  return el(
    "div",
    {},
    el(
      "section.card",
      {},
      el("h2", {}, "In plain words"),
      analysis ? verdict(analysis) : null,
      el("p", {}, el(`span.badge.${report.verdict}`, {}, `reconstruction: ${report.verdict}`), " ", report.detail),
      el("dl.figures", {}, analysis ? analysisFigures(analysis) : null, validPrediction(report.valid_prediction_time)),
      warningList([...(analysis?.warnings ?? []), ...report.warnings]),
    ),
    attractorCard(model, analysis),
    el(
      "section.card",
      {},
      el("h2", {}, "What next"),
      el("ul", {},
        analysis ? el("li", {}, el("a", { href: `#${model.id}/data` }, "The evidence"), " for the verdict: spectrum, methods side by side, recurrences") : null,
        el("li", {}, el("a", { href: `#${model.id}/model` }, "How good the model is"), ": measures and their floors, rhythms, histograms, exponents"),
        el("li", {}, el("a", { href: `#${model.id}/forecast` }, "A forecast"), " with its intervals, and how far it can be trusted"),
        el("li", {}, el("a", { href: `#${model.id}/files` }, "Files"), ": weights, figures, data, everything as JSON")),
    ),
  );
}

function validPrediction(valid) {
  const starts = `median of ${plural(valid.n_starts, "start")}`;
  const lyapunov = valid.median_lyapunov_times === null ? "" : `${num(valid.median_lyapunov_times)} Lyapunov times, `;
  return figure("Forecasts stay valid for", withUnit(valid.median_time, valid.unit), valid.median_time === null ? valid.reason : `${lyapunov}${starts}`);
}

function attractorCard({ report, channels, input_channels: inputs }, analysis) {
  const { samples } = report;
  if (!samples.true?.length || !samples.generated?.length) return null;
  const delay = analysis?.embedding.delay_steps ?? Math.max(1, analysis?.embedding.lags?.[1] ?? 1);
  return el(
    "section.card",
    {},
    el("h2", {}, "The attractor and its reconstruction"),
    attractors([["Data (held out)", "data", samples.true], ["Reconstruction", "model", samples.generated]], channels, delay),
    el("p.fine", {}, channels.length >= 3 ? "Drag to turn both together; arrow keys do the same. " : "", `Both in the range of the data. The reconstruction is a free run: it saw the data's first state only${inputs?.length ? ", and the recorded inputs" : ""}.`),
  );
}

async function learned(model, analysis) {
  const { of } = await figuresOf(`/v1/models/${model.id}`);
  const { report } = model;
  return el(
    "div",
    {},
    measuresCard(report, of("measures")),
    attractorCard(model, analysis),
    el("section.card", {}, el("h2", {}, "Does it move alike?"), of("time-series"), of("power-spectra"), of("histograms"), of("density")),
    el("section.card", {}, el("h2", {}, "Does it diverge alike?"), of("spectrum"), exponentTable(report.lyapunov_spectrum, "The model's exponents"), report.lambda_max_comparison?.detail ? el("p", {}, report.lambda_max_comparison.detail) : null),
    el("section.card", {}, el("h2", {}, "How far does it see?"), of("prediction-error")),
    vectorsCard(model),
    trainingCard(model, of("training")),
  );
}

/** Channels that are no observations, and the series of their own that hold some of them. */
function beside(words, channels, held) {
  if (!channels?.length) return null;
  const places = (held ?? []).map((part, i) => [i ? ", " : " (", `${part.channels.join(", ")} of `, el("a", { href: `#${part.series_id}` }, "this series")]);
  return [`${words} ${channels.join(", ")}`, places, places.length ? ")." : "."];
}

function readOut({ channel_distributions: distributions }) {
  return distributions ? ` Read out as ${Object.entries(distributions).map(([name, { kind }]) => `${name}: ${kind}`).join(", ")}.` : null;
}

function trainingCard(model, picture) {
  const { training } = model;
  const rows = training.seeds.map((run) => [run.seed, run.kept ? "kept" : "", run.outcome, num(run.updates), num(run.final_loss), run.why]);
  return el(
    "section.card",
    {},
    el("h2", {}, "How it was learned"),
    el("p", {}, `${model.architecture}, ${num(model.latent_dim)} latent ${model.hidden_dim ? `and ${num(model.hidden_dim)} hidden units` : "units"}, ${num(model.n_parameters)} parameters; ${num(training.updates)} updates in ${duration(training.seconds)}.`, beside(" Driven by", model.input_channels, model.input_series), beside(" Nuisance subtracted:", model.nuisance_channels, model.nuisance_series), readOut(model.observation)),
    picture,
    table(["Seed", "Kept", "Outcome", "Updates", "Final loss", "Why"], rows, "Training runs"),
    el("details", {}, el("summary", {}, "Every setting"), el("pre.scroll", { tabindex: "0", role: "region", "aria-label": "Every setting" }, el("code", {}, JSON.stringify(training.settings, null, 2)))),
  );
}
