// A stored model judged against a series.
import { get } from "./api.js";
import { el } from "./dom.js";
import { attractors } from "./attractor.js";
import { figuresOf } from "./figures.js";
import { measuresCard } from "./measures.js";

export async function evaluationView(context, id, part, embedded = false) {
  const report = await get(`/v1/evaluations/${id}`);
  const model = await get(`/v1/models/${report.model_id}`);
  const { of } = await figuresOf(`/v1/evaluations/${id}`);
  return el(
    "div",
    {},
    embedded ? null : el("h1", {}, "Evaluation"),
    el("p", {}, el("a", { href: `#${model.id}` }, "The model"), " against ", el("a", { href: `#${report.series_id}` }, "this series")),
    measuresCard(report, of("measures")),
    report.samples.true?.length
      ? el("section.card", {}, el("h2", {}, "The attractor and its reconstruction"), attractors([["Data", "data", report.samples.true], ["Model", "model", report.samples.generated]], model.channels, 1))
      : null,
    el("section.card", {}, el("h2", {}, "Does it move alike?"), ["time-series", "power-spectra", "histograms", "density", "spectrum", "prediction-error"].map(of)),
  );
}
