// Forecasts: asked of a model, drawn with their quantile band, the horizon of predictability and what was measured.
import { Problem, get, post } from "./api.js";
import { companionChoice } from "./companions.js";
import { el, field, num, plural, problemBox, warningList, when, withUnit } from "./dom.js";
import { downloadLink } from "./download.js";
import { figuresOf } from "./figures.js";
import { TABLES } from "./files.js";
import { recordingChoice } from "./recordings.js";

/** The part of a model's page that asks for a forecast and shows the newest one. */
export async function forecastCard(context, model, series) {
  const outcome = el("div");
  const button = el("button.primary", { type: "submit" }, "Forecast");
  const needed = { input_series: model.input_channels ?? [], nuisance_series: model.nuisance_channels ?? [] };
  const any = needed.input_series.length + needed.nuisance_series.length > 0;
  const beside = series && any ? await companionChoice(series, { needed, longer: true }) : { node: null, value: () => ({}) };
  const form = el("form", {}, startFields(model, series), any ? el("div.fields", {}, columnField(model, series, "input"), columnField(model, series, "nuisance")) : null, beside.node, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const answer = await post(`/v1/models/${model.id}/forecasts`, { ...request(new FormData(form), model, series), ...beside.value() });
      if (answer.id.startsWith("job_")) context.go(answer.id); // a long one becomes a job
      else outcome.replaceChildren(await picture(answer));
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
    } finally {
      button.disabled = false;
    }
  });
  const before = (await get(`/v1/forecasts?model_id=${model.id}&limit=1`)).data[0];
  if (before) outcome.replaceChildren(await picture(await get(`/v1/forecasts/${before.id}`)));
  return el("section.card", {}, el("h2", {}, "Forecast"), form, outcome);
}

export async function forecastView(context, id, part, embedded = false) {
  const forecast = await get(`/v1/forecasts/${id}`);
  const model = await get(`/v1/models/${forecast.model_id}`);
  return el(
    "div",
    {},
    embedded ? null : el("h1", {}, "Forecast"),
    el("p", {}, "By ", el("a", { href: `#${model.id}` }, "this model")),
    el("section.card", {}, await picture(forecast)),
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
  const recordings = (series?.profile.recordings ?? []).map((r) => r.name);
  const family = (model.recordings ?? []).map((r) => r.name);
  return el(
    "div.fields",
    {},
    field("How far", length),
    field("Counted in", unit),
    series ? field("From step", el("input", { name: "start", type: "number", min: "1", max: last, placeholder: `${last} (the end)` }), "an earlier step shows the forecast beside what was measured") : null,
    recordings.length ? field("From the end of", recordingChoice("end_of", recordings, "the last recording"), "a recording of the series, where no step is given") : null,
    family.length ? field("With the map of", recordingChoice("recording", family, "where it starts"), "each recording has its own; for one that is not known a map is fitted to what precedes the start") : null,
  );
}

const TITLES = { input: ["Inputs", "inputs"], nuisance: ["Nuisance", "nuisance"] };

/** Where the values of a model's inputs or nuisance to come go; nothing for a model without. */
function columnField(model, series, kind) {
  const names = model[`${kind}_channels`] ?? [];
  if (!names.length) return null;
  const held = (model[`${kind}_series`] ?? []).flatMap((part) => part.channels);
  const recorded = series && names.every((name) => held.includes(name) || series.profile.channels.some((c) => c.name === name));
  const otherwise = kind === "nuisance" ? "their mean, that is the signal alone" : "";
  const empty = [recorded ? "what was recorded from the start on" : "", otherwise].filter(Boolean).join(", or else ");
  const [title, name] = TITLES[kind];
  return field(
    `${title}: ${names.join(", ")}`,
    el("textarea", { name, rows: "5", spellcheck: "false", placeholder: `${names.join(",")}\n0.1${",0.1".repeat(names.length - 1)}\n…` }),
    `CSV, one row for each step of the forecast, the first for its first step${empty ? `; left empty, ${empty}` : ""}`,
  );
}

function request(form, model, series) {
  const asked = { [form.get("unit")]: Number(form.get("length")) };
  const recordings = series?.profile.recordings ?? [];
  if (form.get("start")) asked.start_index = Number(form.get("start"));
  else if (form.get("end_of")) asked.start_index = endOf(recordings, form.get("end_of"));
  if (form.get("recording")) asked.recording = form.get("recording");
  for (const [kind, [title, name]] of Object.entries(TITLES)) {
    if (form.get(name)?.trim()) asked[name] = pastedRows(form.get(name), model[`${kind}_channels`] ?? [], title);
  }
  return asked;
}

function endOf(recordings, name) {
  const found = recordings.find((r) => r.name === name);
  if (!found) throw new Problem({ title: "No such recording", detail: `The series has no recording “${name}”.` });
  return found.stop;
}

/** Pasted CSV as rows of numbers in the order of `names`: a first line of names says which column is which. */
function pastedRows(text, names, title) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()));
  const numeric = (cell) => cell !== "" && Number.isFinite(Number(cell));
  let columns = names.map((_, k) => k);
  if (!lines[0].every((cell) => cell === "" || numeric(cell))) {
    const head = lines.shift();
    columns = names.map((name) => head.indexOf(name));
    const missing = names.filter((_, k) => columns[k] < 0);
    if (missing.length) throw new Problem({ title: `${title} cannot be read`, detail: `The first line names no column ${missing.join(", ")}; it has ${head.join(", ")}.` });
  }
  return lines.map((cells, row) =>
    columns.map((column, k) => {
      const cell = cells[column] ?? "";
      if (numeric(cell)) return Number(cell);
      throw new Problem({ title: `${title} cannot be read`, detail: `Row ${row + 1} has ${cell ? `“${cell}”` : "nothing"} for ${names[k]}, where a number is needed.` });
    }),
  );
}

async function picture(forecast) {
  const path = `/v1/forecasts/${forecast.id}`;
  const { of } = await figuresOf(path);
  return el(
    "div",
    {},
    el("p", {}, trust(forecast, forecast.time_unit)),
    of("forecast"),
    warningList(forecast.warnings),
    el("p.inline", {}, TABLES.map((format) => downloadLink("a.button", `${path}?format=${format}`, `${forecast.id}.${format}`, `Forecast ${format.toUpperCase()}`))),
    el("p.fine", {}, `Made ${when(forecast.created_at)}. `, el("a", { href: `#${forecast.id}` }, "Its own page")),
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
