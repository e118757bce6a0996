// An analysis: what the data say in plain words, and everything by which a scientist can judge it.
import { get } from "./api.js";
import { el, interval, num, plural, table, warningList, withUnit } from "./dom.js";
import { downloadLink } from "./download.js";
import { figuresOf } from "./figures.js";

export async function analysisView(context, id, part, embedded = false) {
  const analysis = await get(`/v1/analyses/${id}`);
  const series = await get(`/v1/series/${analysis.series_id}`).catch(() => null); // deleted since: the analysis stays
  return el(
    "div",
    {},
    embedded ? null : [el("p.fine", {}, "Analysis of ", el("a", { href: `#${analysis.series_id}` }, "this series")), el("h1", {}, series?.name || "Lyapunov analysis")],
    el("section.card", {}, el("h2", {}, "In plain words"), verdict(analysis), el("dl.figures", {}, analysisFigures(analysis)), warningList(analysis.warnings)),
    await analysisCards(analysis),
    el("section.card", {}, el("h2", {}, "Take it along"), el("p.inline", {}, downloadLink("a.button", `/v1/analyses/${id}`, `${id}.json`, "Analysis (JSON)"))),
  );
}

export function figure(name, value, ...notes) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, el("span.value", {}, value), notes.filter(Boolean).map((note) => el("div.fine", {}, note))));
}

/** What the analysis could not give is said once, with the largest exponent; the other figures stay away then. */
export function analysisFigures({ lambda_max: top, predictability, kaplan_yorke_dimension: dimension }) {
  const figures = [figure("Largest Lyapunov exponent", withUnit(top.value, top.unit), interval(top.ci, top.level), top.reason)];
  if (predictability.time !== null) {
    figures.push(figure("Predictability time", withUnit(predictability.time, predictability.unit), `${plural(predictability.steps, "step")}: an error doubles`));
  }
  if (dimension.value !== null) figures.push(figure("Kaplan–Yorke dimension", num(dimension.value), interval(dimension.ci, dimension.level)));
  return figures;
}

const MEANS = {
  chaotic: "Chaotic: the rules are deterministic, but small errors grow until nothing can be forecast.",
  periodic: "Periodic: the motion repeats itself; forecasts stay good for as long as the period does.",
  "quasi-periodic": "Quasi-periodic: several rhythms that never quite meet; errors do not grow exponentially.",
  "fixed-point": "At rest: the motion dies out.",
  noise: "Noise: no nonlinear rule was found that forecasts better than a linear one.",
  undecided: "Undecided: this series does not tell. The evidence below says what is missing.",
};

/** The verdict as a colleague would say it, then in the words of the analysis. */
export function verdict({ verdict: found, predictability: ahead }) {
  return el(
    "div",
    {},
    el("p.verdict", {}, el(`span.badge.${found.kind}`, {}, found.kind), " ", MEANS[found.kind] ?? ""),
    el("p", {}, found.detail),
    ahead.time === null ? null : el("p", {}, `An error made now doubles every ${withUnit(ahead.time, ahead.unit)}: ten times as good a measurement lets you see only ${withUnit(ahead.time * Math.log2(10), ahead.unit)} farther.`),
  );
}

/** Everything about the data: spectrum, evidence, methods, how neighbours part, recurrences, sampling. */
export async function analysisCards(analysis) {
  const { of } = await figuresOf(`/v1/analyses/${analysis.id}`);
  const { embedding, diagnostics, correlation_dimension: correlation } = analysis;
  return el(
    "div",
    {},
    el("section.card", {}, el("h2", {}, "How fast states part"), of("spectrum"), exponentTable(analysis.lyapunov_spectrum, "Exponents"), of("convergence")),
    el("section.card", {}, el("h2", {}, "Why this verdict"), of("evidence"), evidenceTable(analysis.verdict)),
    el("section.card", {}, el("h2", {}, "Methods side by side"), of("methods"), methodTable(analysis), of("divergence"), of("local-jacobians")),
    el(
      "section.card",
      {},
      el("h2", {}, "State space"),
      el("p", {}, el("strong", {}, "Embedding. "), embeddingText(embedding)),
      of("embedding"),
      el("p", {}, el("strong", {}, "Correlation dimension. "), correlation.value === null ? correlation.reason : `${num(correlation.value)}, ${interval(correlation.ci, correlation.level)}`),
      of("correlation-sum"),
      of("recurrence"),
    ),
    el(
      "section.card",
      {},
      el("h2", {}, "Sampling and noise"),
      diagnostics?.sampling?.advice ? el("p", {}, el("strong", {}, "Advice. "), diagnostics.sampling.advice) : null,
      of("sampling"),
      of("surrogates"),
    ),
  );
}

export function exponentTable({ exponents, ci, level, unit, reason, method }, name) {
  const rows = exponents.map((e, i) => [`λ${i + 1}`, num(e, 4), ...(ci ? [interval(ci[i])] : [])]);
  return [
    rows.length ? table(["Exponent", `λ in ${unit}`, ...(ci ? [`${Math.round((level ?? 0.9) * 100)} % interval`] : [])], rows, `${name} in ${unit} (nats)`) : null,
    reason ? el("p.fine", {}, reason) : null,
    method ? el("p.fine", {}, method) : null,
  ];
}

function evidenceTable({ evidence }) {
  if (!evidence.length) return null;
  const rows = evidence.map((e) => [e.test, num(e.value), e.supports, e.detail]);
  return el("details", {}, el("summary", {}, "Every test in words"), table(["Test", "Value", "Speaks for", "What was seen"], rows, "Evidence"));
}

const METHODS = { "fitted-model": "Smooth model, fitted", "neighbor-divergence": "Divergence of neighbours", "local-jacobians": "Local-linear Jacobians" };

function methodTable({ methods, lambda_max: top }) {
  if (!methods?.length) return null;
  const rows = methods.map(({ method, lambda_max: found, trusted, distance, why }) =>
    [`${METHODS[method] ?? method}${trusted ? " (trusted)" : ""}`, num(found.value), interval(found.ci), num(distance, 2), why]);
  return [
    table(["Method", `λ₁ in ${top.unit}`, "Interval", "Apart", "Why"], rows, "Largest exponent by every method"),
    el("p.fine", {}, "Apart: from the trusted method, in standard errors of the difference."),
  ];
}

function embeddingText({ kind, dimension, delay_steps: delay, lags, reason }) {
  const words = {
    none: "The channels themselves are the state",
    delay: `${dimension} delayed copies of the series${delay ? `, ${plural(delay, "step")} apart` : ""}`,
    "principal-components": `${dimension} principal components of the channels`,
  }[kind] ?? kind;
  const advice = lags.length > 1 ? ` Lags for training: ${lags.join(", ")}.` : "";
  return `${words}. ${reason}${advice}`;
}
