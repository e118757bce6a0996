// Models side by side: what was set differently, what they score, what their attractors look like.
import { get } from "./api.js";
import { el, interval, num, table, withUnit } from "./dom.js";
import { attractors } from "./attractor.js";
import { MEANING } from "./measures.js";

const MOST = 6;

/** {"forcing.alpha": 0.1, ...}: nested settings under dotted names; reasons and lists of numbers stay away. */
function flat(value, name = "", into = {}) {
  if (value !== null && typeof value === "object" && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) if (key !== "why") flat(inner, name ? `${name}.${key}` : key, into);
  } else into[name] = value;
  return into;
}

function settingsOf(model) {
  const { architecture, latent_dim, hidden_dim, n_parameters, forcing, observation, channels, input_channels, lags, training } = model;
  return flat({ ...training.settings, architecture, latent_dim, hidden_dim, n_parameters, forcing, observation, channels, input_channels, lags, updates: training.updates });
}

const written = (value) => (typeof value === "number" ? num(value, 4) : Array.isArray(value) ? value.join(", ") : String(value ?? "–"));

export async function compareView(context, ids) {
  const models = await Promise.all(ids.slice(0, MOST).map((id) => get(`/v1/models/${id}`)));
  if (models.length < 2) return el("div", {}, el("h1", {}, "Compare models"), el("p", {}, "Tick two or more in the ", el("a", { href: "#models" }, "list of models"), "."));
  const names = () => models.map((m) => el("a", { href: `#${m.id}` }, `${m.architecture} ${m.id.slice(-6)}`)); // an element has one place
  const oneSeries = new Set(models.map((m) => m.series_id)).size === 1;
  return el(
    "div",
    {},
    el("h1", {}, "Models side by side"),
    oneSeries ? null : el("p.issue.warning", {}, "These models were trained on different series: their measures have different references and do not compare."),
    el("section.card", {}, el("h2", {}, "Measures on held-out data"), measures(models, names()), el("p.fine", {}, "Smaller is better, but valid prediction, where longer is. Values compare only where the variant is the same.")),
    attractorCard(models, oneSeries),
    el("section.card", {}, el("h2", {}, "Settings that differ"), settings(models, names())),
  );
}

function measures(models, names) {
  const best = (values) => Math.min(...values.filter((v) => v !== null));
  const rows = Object.keys(MEANING).filter((key) => models.some((m) => m.report[key])).map((key) => {
    const values = models.map((m) => m.report[key]?.value ?? null);
    const variants = new Set(models.map((m) => m.report[key]?.variant));
    const cells = models.map((m, i) => {
      const floor = m.report[key]?.floor ?? null;
      const text = `${num(values[i])}${floor === null ? "" : ` (floor ${num(floor)})`}`;
      return variants.size === 1 && values[i] !== null && values[i] === best(values) ? el("strong", {}, text) : text;
    });
    return [el("span", {}, el("code", {}, key), variants.size > 1 ? " (variants differ)" : ""), ...cells];
  });
  rows.unshift(["Verdict", ...models.map((m) => el(`span.badge.${m.report.verdict}`, {}, m.report.verdict))]);
  rows.push(["Valid prediction", ...models.map((m) => withUnit(m.report.valid_prediction_time.median_time, m.report.valid_prediction_time.unit))]);
  rows.push(["λ₁", ...models.map(({ report }) => `${num(report.lyapunov_spectrum.exponents[0])} (${interval(report.lyapunov_spectrum.ci?.[0]) || "no interval"})`)]);
  rows.push(["Kaplan–Yorke dimension", ...models.map((m) => num(m.report.kaplan_yorke_dimension.value))]);
  return table(["Measure", ...names], rows, "Measures on held-out data", true);
}

function attractorCard(models, oneSeries) {
  const drawn = models.filter((m) => m.report.samples.generated?.length);
  const same = drawn.every((m) => m.channels.join() === drawn[0].channels.join());
  if (!drawn.length || !oneSeries || !same) return null;
  const shown = [["Data (held out)", "data", drawn[0].report.samples.true], ...drawn.map((m) => [`${m.architecture} ${m.id.slice(-6)}`, "model", m.report.samples.generated])];
  return el("section.card", {}, el("h2", {}, "Attractors"), attractors(shown, drawn[0].channels, Math.max(1, drawn[0].lags[1] ?? 1)), el("p.fine", {}, "All in the range of the data; arrow keys or dragging turn them together."));
}

function settings(models, names) {
  const all = models.map(settingsOf);
  const keys = [...new Set(all.flatMap(Object.keys))].filter((key) => new Set(all.map((s) => JSON.stringify(s[key]))).size > 1).sort();
  if (!keys.length) return el("p", {}, "None: the models differ by chance alone.");
  return table(["Setting", ...names], keys.map((key) => [el("code", {}, key), ...all.map((s) => written(s[key]))]), "Settings that differ", true);
}
