// The measures of a reconstruction, on data that training never saw.
import { el, interval, num, table, withUnit } from "./dom.js";
import { recordingReports } from "./recordings.js";

export const MEANING = {
  d_stsp: "Do both visit the same places equally often? (state-space divergence)",
  d_stsp_long: "The same against a long noisy run of the model: hardly biased by a short or noisy series",
  d_h: "Do both oscillate alike? (Hellinger distance of power spectra)",
  prediction_error: "Mean squared error of short forecasts, in units of the variance",
};

/** The measures of a report, each with the floor that no model can be expected to beat. */
export function measuresCard(report, picture = null) {
  const rows = Object.entries(MEANING).filter(([name]) => report[name]).map(([name, meaning]) => {
    const measure = report[name];
    return [el("code", {}, name), num(measure.value), num(measure.floor), measure.variant, measure.reason ?? meaning];
  });
  const valid = report.valid_prediction_time;
  const quartiles = valid.quartiles_time ? ` (quartiles ${interval(valid.quartiles_time)})` : "";
  return el(
    "section.card",
    {},
    el("h2", {}, "How good is the reconstruction?"),
    el("p", {}, el(`span.badge.${report.verdict}`, {}, report.verdict), " ", report.detail),
    el("p.fine", {}, `Measured on steps ${report.reference_steps.map((n) => n.toLocaleString("en")).join(" to ")}, which training never saw. Smaller is better; the floor is what one piece of the data scores against another.`),
    table(["Measure", "Model", "Floor", "Variant", "Meaning"], rows, "Measures on held-out data", true),
    valid.median_time !== null ? el("p", {}, `Forecasts stay within ${num(valid.threshold)} of the truth (normalised error) for ${withUnit(valid.median_time, valid.unit)}${quartiles}.`) : null,
    recordingReports(report),
    countedTable(report.counted_channels ?? []),
    picture,
  );
}

/** Channels of counts and classes: how likely the model finds what was recorded, and two forecasts without it. */
function countedTable(channels) {
  if (!channels.length) return null;
  const rows = channels.map((c) => [c.channel, c.kind, num(c.log_likelihood), num(c.marginal), num(c.persistence), num(c.total_variation), num(c.total_variation_floor)]);
  return [
    el("p", {}, `Counts and classes, ${num(channels[0].horizon_steps)} steps ahead. Log-likelihoods are nats a row, larger is better: the model's, that of the channel's overall distribution, and that of no change. Total variation compares the values of a free run with those recorded; smaller is better.`),
    table(["Channel", "Kind", "Model", "Overall", "No change", "Total variation", "Floor"], rows, "Channels of counts and classes", true),
  ];
}
