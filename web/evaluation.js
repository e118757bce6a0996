// A stored model judged against a series.
import { get } from "./api.js";
import { el } from "./dom.js";
import { attractors } from "./attractor.js";
import { figuresDrawer } from "./figures.js";
import { measuresCard } from "./measures.js";

export async function evaluationView(context, id, embedded = false) {
  const report = await get(`/v1/evaluations/${id}`);
  const model = await get(`/v1/models/${report.model_id}`);
  return el(
    "div",
    {},
    embedded ? null : el("h1", {}, "Evaluation"),
    el("p", {}, el("a", { href: `#${model.id}` }, "The model"), " ", el(`span.badge.${report.verdict}`, {}, report.verdict), " ", report.detail),
    report.samples.true?.length ? el("section.card", {}, attractors(report.samples, model.channels, 1)) : null,
    measuresCard(report),
    figuresDrawer([["Figures of the evaluation", `/v1/evaluations/${id}`]]),
  );
}
