// Everything that can be taken along: weights, documents, figures, data, forecasts.
import { get } from "./api.js";
import { count, el, table, when } from "./dom.js";
import { downloadLink } from "./download.js";
import { figureFiles, figuresOf } from "./figures.js";

export const TABLES = ["csv", "npy", "parquet", "json"];

/** Links to a table in every format. */
export function tableFiles(href, name) {
  return el("span.inline.tight", {}, TABLES.map((format) => downloadLink("a", `${href}?format=${format}`, `${name}.${format}`, format.toUpperCase())));
}

/** The ONNX graphs that are made when they are asked for: of a model with a map for each recording those of the first; one with counts or classes has none. */
function graphsOf({ id, recordings, observation }) {
  if (observation.channel_distributions) return [];
  const first = recordings?.[0]?.name;
  const [query, of] = first === undefined ? ["", ""] : [`?recording=${encodeURIComponent(first)}`, ` of ${first}`];
  return ["model.onnx", "encoder.onnx"].map((name) => [`/v1/models/${id}/artifacts/${name}${query}`, `${name}${of}`, name]);
}

export async function filesCard(model, analysis, series) {
  const forecasts = (await get(`/v1/forecasts?model_id=${model.id}&limit=20`)).data;
  const report = `/v1/models/${model.id}/report`;
  const documents = [
    [`${report}?format=pdf`, "Report (PDF)", `${model.id}-report.pdf`],
    [`${report}?format=html`, "Report (HTML)", `${model.id}-report.html`],
    ...graphsOf(model),
    ...model.artifacts.map((a) => [a.href, a.name, a.name]),
    [`/v1/models/${model.id}`, "Model and report (JSON)", `${model.id}.json`],
    ...(analysis ? [[`/v1/analyses/${analysis.id}`, "Analysis (JSON)", `${analysis.id}.json`]] : []),
  ];
  return el(
    "div",
    {},
    el("section.card", {}, el("h2", {}, "Report, weights, documents"), el("p", {}, "The report is the whole story in one file, with every setting and source. The weights are a safetensors file that numpy alone can run; the card says what the model is, how it was made, and on which data."), el("p.inline", {}, documents.map(([href, text, name]) => downloadLink("a.button", href, name, text)))),
    el(
      "section.card",
      {},
      el("h2", {}, "Data and forecasts"),
      table(["What", "Rows", "Files"], [
        ...(series ? [[series.name || series.id, count(series.profile.n_steps), tableFiles(`/v1/series/${series.id}/data`, series.id)]] : []),
        ...forecasts.map((f) => [el("a", { href: `#${f.id}` }, `Forecast of ${when(f.created_at)}`), count(f.horizon_steps), tableFiles(`/v1/forecasts/${f.id}`, f.id)]),
      ], "Data and forecasts", true),
    ),
    await figureTable([["Figures of the model", `/v1/models/${model.id}`], ...(analysis ? [["Figures of the analysis", `/v1/analyses/${analysis.id}`]] : [])]),
  );
}

async function figureTable(results) {
  const parts = await Promise.all(results.map(async ([what, path]) => {
    const { all } = await figuresOf(path);
    return table(["Figure", "What it shows", "Files"], all.map((f) => [f.title, f.shows, figureFiles(path, f)]), what);
  }));
  return el("section.card", {}, el("h2", {}, "Figures for papers and notebooks"), parts);
}
