// A stored series: what the audit found, a look at the data, and the start of a reconstruction.
import { get, post } from "./api.js";
import { el, field, num, plural, problemBox, table, withUnit } from "./dom.js";
import { seriesBrowser } from "./browser.js";
import { tableFiles } from "./files.js";

export async function seriesView(context, id) {
  const series = await get(`/v1/series/${id}`);
  const { profile } = series;
  return el(
    "div",
    {},
    el("p.fine", {}, "Series"),
    el("h1", {}, series.name || id),
    el("p", {}, `${plural(profile.n_steps, "step")} of ${plural(profile.n_channels, "channel")}, one every ${withUnit(series.dt, series.time_unit)}; ${withUnit(profile.duration, series.time_unit)} in all.`),
    startForm(context, series),
    auditCard(series),
    previewCard(series, context),
  );
}

function auditCard({ profile }) {
  const issues = profile.issues.map((issue) =>
    el(
      `div.issue.${issue.severity}`,
      {},
      el("code", {}, issue.code),
      ` ${issue.detail}`,
      issue.rows.length ? el("span.rows", {}, ` Rows ${issue.rows.join(", ")}${issue.n_rows > issue.rows.length ? ` … (${issue.n_rows} in all)` : ""}.`) : null,
    ),
  );
  const segments = profile.segments.length > 1
    ? el("p", {}, `${plural(profile.segments.length, "segment")} without gaps, ${plural(profile.n_usable_steps, "usable step")}: nothing is learned across a gap.`)
    : null;
  return el(
    "section.card",
    {},
    el("h2", {}, "What the audit found"),
    issues.length ? issues : el("p", {}, "Nothing to complain of: evenly sampled, no gaps, no missing values."),
    segments,
    table(
      ["Channel", "Minimum", "Maximum", "Mean", "Standard deviation", "Missing", "Distinct values"],
      profile.channels.map((c) => [c.name, num(c.minimum, 4), num(c.maximum, 4), num(c.mean, 4), num(c.std, 4), num(c.n_missing), c.n_unique >= 1000 ? "1,000 or more" : num(c.n_unique)]),
      "Channels",
    ),
  );
}

function previewCard(series, context) {
  return el(
    "section.card",
    {},
    el("h2", {}, "The series"),
    seriesBrowser(series, context),
    el("p.fine", {}, "Download: ", tableFiles(`/v1/series/${series.id}/data`, series.id)),
  );
}

function startForm(context, series) {
  const outcome = el("div");
  const names = series.profile.channels.map((c) => c.name);
  const button = el("button.primary", { type: "submit" }, "Start reconstruction");
  const form = el("form", {}, names.length > 1 ? channelChecks(names) : null, outcome, button, advanced(names));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const job = await post("/v1/jobs", reconstruction(series.id, names, new FormData(form)));
      context.go(job.id);
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
    } finally {
      button.disabled = false;
    }
  });
  return el(
    "section.card",
    {},
    el("h2", {}, "Reconstruct the system"),
    el("p", {}, "Measures the Lyapunov spectrum, tunes teacher forcing by it, trains several networks, keeps the best and judges it on held-out data."),
    form,
  );
}

function channelChecks(names) {
  return el(
    "fieldset",
    {},
    el("legend", {}, "Channels"),
    el("div.checks", { tabindex: names.length > 20 ? "0" : null }, names.map((name) => el("label", {}, el("input", { type: "checkbox", name: "channels", value: name, checked: true }), ` ${name}`))),
  );
}

const ARCHITECTURES = ["auto", "clipped-shplrnn", "shplrnn", "plrnn", "mean-centered-plrnn", "clipped-plrnn", "dend-plrnn", "clipped-dend-plrnn", "al-rnn", "deep-plrnn", "vanilla-rnn", "lstm", "gru"];

function advanced(names) {
  const detail = el("div");
  const forcing = el("select", { name: "forcing", onchange: () => detail.replaceChildren(...(FORCING_FIELDS[forcing.value]?.() ?? [])) }, [
    el("option", { value: "auto" }, "automatic"),
    el("option", { value: "gtf" }, "generalised (blend by α)"),
    el("option", { value: "stf" }, "sparse (every τ steps)"),
    el("option", { value: "none" }, "none (for comparison)"),
  ]);
  return el(
    "details",
    {},
    el("summary", {}, "Advanced"),
    el(
      "div.fields",
      {},
      field("Architecture", el("select", { name: "architecture" }, ARCHITECTURES.map((name) => el("option", { value: name }, name === "auto" ? "automatic" : name)))),
      field("Teacher forcing", forcing),
      detail,
      names.length > 1 ? field("Inputs", el("select", { name: "inputs", multiple: true, size: Math.min(5, names.length) }, names.map((name) => el("option", { value: name }, name))), "channels that drive the system from outside: given in a forecast, not forecast") : null,
      field("Training budget", el("input", { name: "budget_seconds", type: "number", min: "1", max: "86400", step: "any", placeholder: "30" }), "seconds"),
      field("Hidden units", el("input", { name: "hidden_dim", type: "number", min: "1", max: "2048", placeholder: "automatic" })),
      field("Training runs", el("input", { name: "seeds", type: "number", min: "1", max: "64", placeholder: "automatic" }), "the best on validation data is kept"),
      field("Seed", el("input", { name: "seed", type: "number", min: "0", placeholder: "0" }), "the same seed gives the same model"),
    ),
  );
}

const FORCING_FIELDS = {
  gtf: () => [field("α", el("input", { name: "alpha", type: "number", min: "0", max: "1", step: "any", placeholder: "from the spectrum" }), "0 is free running, 1 full forcing")],
  stf: () => [field("τ", el("input", { name: "interval_steps", type: "number", min: "1", placeholder: "from the spectrum" }), "steps between forcings")],
};

/** The request for a job; what was left empty is left to the service. */
function reconstruction(seriesId, names, form) {
  const train = {};
  const architecture = form.get("architecture");
  if (architecture !== "auto") train.architecture = architecture;
  for (const name of ["budget_seconds", "hidden_dim", "seeds", "seed"]) if (form.get(name)) train[name] = Number(form.get(name));
  const kind = form.get("forcing");
  if (kind !== "auto") {
    train.forcing = { kind };
    for (const name of ["alpha", "interval_steps"]) if (form.get(name)) train.forcing[name] = Number(form.get(name));
  }
  const request = { kind: "reconstruct", series_id: seriesId, params: { train } };
  const inputs = form.getAll("inputs");
  if (inputs.length) train.input_channels = inputs;
  const picked = form.getAll("channels");
  if (names.length > 1 && picked.length < names.length) request.channels = picked;
  return request;
}
