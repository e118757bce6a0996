// Forecasts: asked of a model, drawn with their quantile band, the horizon of predictability and what was measured.
import { Problem, get, post } from "./api.js";
import { el, field, num, plural, problemBox, warningList, when, withUnit } from "./dom.js";
import { legend, lineChart } from "./charts.js";
import { downloadLink } from "./download.js";
import { figuresDrawer } from "./figures.js";

const SHOWN_CHANNELS = 6;

/** The part of a model's page that asks for a forecast and shows the newest one. */
export async function forecastCard(context, model, series) {
  const outcome = el("div");
  const button = el("button.primary", { type: "submit" }, "Forecast");
  const form = el("form", {}, startFields(model, series), inputField(model, series), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await post(`/v1/models/${model.id}/forecasts`, request(new FormData(form), model.input_channels ?? []));
      if (answer.id.startsWith("job_")) context.go(answer.id); // a long one becomes a job
      else outcome.replaceChildren(await picture(answer, series));
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
    } finally {
      button.disabled = false;
    }
  });
  const before = (await get(`/v1/forecasts?model_id=${model.id}&limit=1`)).data[0];
  if (before) outcome.replaceChildren(await picture(await get(`/v1/forecasts/${before.id}`), series));
  return el("section.card", {}, el("h2", {}, "Forecast"), form, outcome);
}

export async function forecastView(context, id, embedded = false) {
  const forecast = await get(`/v1/forecasts/${id}`);
  const model = await get(`/v1/models/${forecast.model_id}`);
  const series = await get(`/v1/series/${forecast.series_id ?? model.series_id}`).catch(() => null);
  return el(
    "div",
    {},
    embedded ? null : el("h1", {}, "Forecast"),
    el("p", {}, "By ", el("a", { href: `#${model.id}` }, "this model")),
    el("section.card", {}, await picture(forecast, series)),
  );
}

function startFields(model, series) {
  const chaotic = model.report.valid_prediction_time.median_lyapunov_times !== null;
  const unit = el("select", { name: "unit" }, [
    chaotic ? el("option", { value: "horizon_lyapunov_times" }, "Lyapunov times") : null,
    el("option", { value: "horizon_steps" }, "steps"),
  ]);
  const length = el("input", { name: "length", type: "number", min: "0", step: "any", required: true, value: chaotic ? "5" : "200" });
  unit.addEventListener("change", () => (length.value = unit.value === "horizon_steps" ? "200" : "5"));
  const last = series?.profile.n_steps;
  return el(
    "div.fields",
    {},
    field("How far", length),
    field("Counted in", unit),
    series ? field("From step", el("input", { name: "start", type: "number", min: "1", max: last, placeholder: `${last} (the end)` }), "an earlier step shows the forecast beside what was measured") : null,
  );
}

/** Where the values of a driven model's inputs go; nothing for a model without. */
function inputField(model, series) {
  const names = model.input_channels ?? [];
  if (!names.length) return null;
  const recorded = series && names.every((name) => series.profile.channels.some((c) => c.name === name));
  return field(
    `Inputs: ${names.join(", ")}`,
    el("textarea", { name: "inputs", rows: "5", spellcheck: "false", placeholder: `${names.join(",")}\n0.1${",0.1".repeat(names.length - 1)}\n…` }),
    `CSV, one row for each step of the forecast, the first for its first step${recorded ? "; left empty, what the series has recorded from the start on" : ""}`,
  );
}

function request(form, inputNames) {
  const asked = { [form.get("unit")]: Number(form.get("length")) };
  if (form.get("start")) asked.start_index = Number(form.get("start"));
  if (form.get("inputs")?.trim()) asked.inputs = inputRows(form.get("inputs"), inputNames);
  return asked;
}

/** Pasted CSV as rows of numbers in the order of `names`: a first line of names says which column is which. */
function inputRows(text, names) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const numeric = (cell) => cell !== "" && Number.isFinite(Number(cell));
  let columns = names.map((_, k) => k);
  if (!lines[0].every((cell) => cell === "" || numeric(cell))) {
    const head = lines.shift();
    columns = names.map((name) => head.indexOf(name));
    const missing = names.filter((_, k) => columns[k] < 0);
    if (missing.length) throw new Problem({ title: "Inputs cannot be read", detail: `The first line names no column ${missing.join(", ")}; it has ${head.join(", ")}.` });
  }
  return lines.map((cells, row) =>
    columns.map((column, k) => {
      const cell = cells[column] ?? "";
      if (numeric(cell)) return Number(cell);
      throw new Problem({ title: "Inputs cannot be read", detail: `Row ${row + 1} has ${cell ? `“${cell}”` : "nothing"} for ${names[k]}, where a number is needed.` });
    }),
  );
}

/** What was measured around the forecast's start, as far as it is stored. */
async function measured(forecast, series) {
  const { index } = forecast.start;
  if (!series || index === null) return null;
  const history = Math.min(index, Math.max(50, Math.round(forecast.horizon_steps / 2)));
  const stop = Math.min(series.profile.n_steps, index + forecast.horizon_steps);
  return get(`/v1/series/${series.id}/data?format=json&start=${index - history}&stop=${stop}&max_points=4000`);
}

async function picture(forecast, series) {
  const data = await measured(forecast, series);
  const { predictability, start, time_unit: unit } = forecast;
  const horizon = predictability.time === null ? null : start.time + predictability.time;
  const levels = Object.keys(forecast.quantiles).sort((a, b) => a - b);
  const markers = [{ x: start.time, text: "start", kind: "start" }];
  if (horizon !== null) markers.push({ x: horizon, text: "predictability horizon", kind: "horizon" });
  if (forecast.trusted_steps && forecast.trusted_steps < forecast.horizon_steps) {
    markers.push({ x: forecast.time[forecast.trusted_steps - 1], text: "ensemble spread over a tenth", kind: "trusted" });
  }
  const charts = forecast.channels.slice(0, SHOWN_CHANNELS).map((name, k, shown) => {
    const known = data ? data.values.map((row) => row[data.channels.indexOf(name)]) : [];
    const column = (rows) => rows.map((row) => row[k]);
    const band = levels.length > 1
      ? { x: forecast.time, low: column(forecast.quantiles[levels[0]]), high: column(forecast.quantiles[levels[levels.length - 1]]) }
      : null;
    const lines = [{ x: forecast.time, y: column(forecast.median), kind: "model" }];
    if (data) lines.unshift({ x: data.time, y: known, kind: "data" });
    return lineChart({
      lines, band,
      markers: k === 0 ? markers : markers.map((m) => ({ ...m, text: "" })),
      xLabel: k === shown.length - 1 ? `time${unit ? ` in ${unit}` : ""}` : "",
      yLabel: name,
      height: k === 0 ? 215 : 180,
      label: `Forecast of ${name}, ${plural(forecast.horizon_steps, "step")}`,
    });
  });
  const names = [["model", "Median forecast"]];
  if (levels.length > 1) names.push(["bandkey", `${levels[0]} to ${levels[levels.length - 1]} quantile`]);
  if (data) names.unshift(["data", "Measured"]);
  return el(
    "div",
    {},
    el("p", {}, trust(forecast, unit)),
    legend(names),
    charts,
    forecast.channels.length > SHOWN_CHANNELS ? el("p.fine", {}, `The first ${SHOWN_CHANNELS} of ${forecast.channels.length} channels; the downloads hold all.`) : null,
    warningList(forecast.warnings),
    el("p.inline", {}, ["csv", "json", "npy", "parquet"].map((format) => downloadLink("a.button", `/v1/forecasts/${forecast.id}?format=${format}`, `${forecast.id}.${format}`, `Forecast ${format.toUpperCase()}`))),
    figuresDrawer([["Figures of the forecast", `/v1/forecasts/${forecast.id}`]]),
    el("p.fine", {}, `Made ${when(forecast.created_at)}.`),
  );
}

function trust({ predictability, trusted_steps: trusted, horizon_steps: steps }, unit) {
  const words = predictability.time === null
    ? predictability.reason ?? "How far it can be trusted is not known."
    : `An error in the starting state doubles every ${withUnit(predictability.time, predictability.unit || unit)} (${plural(predictability.steps, "step")}).`;
  if (!trusted) return words;
  if (trusted >= steps) return `${words} The ensemble stays together over the whole forecast.`;
  return `${words} After ${num(trusted)} steps the ensemble has spread over a tenth of the attractor: beyond that only statistics can be believed.`;
}
