// Recordings of a collection: which there are, what a model knows of each, and how good it is on each.
import { count, el, num, table, withUnit } from "./dom.js";

const AT_ONCE = 20; // rows of a table; a collection may have thousands
const MOST_CHOICES = 200; // of a select; beyond that a name is typed

/** A table that shows its first rows, and more of them when asked. */
function bounded(head, items, row, caption) {
  const box = el("div");
  const more = el("button", { type: "button" }, "Show more");
  let shown = 0;
  const grow = () => {
    shown = Math.min(items.length, shown ? shown + 5 * AT_ONCE : AT_ONCE);
    box.replaceChildren(table(head, items.slice(0, shown).map(row), shown < items.length ? `${caption}, the first ${count(shown)} of ${count(items.length)}` : caption));
    more.hidden = shown >= items.length;
  };
  more.addEventListener("click", grow);
  grow();
  return el("div", {}, box, more);
}

/** The recordings of a series; nothing for one that is a single recording. */
export function recordingsCard(series) {
  const recordings = series.profile.recordings ?? [];
  if (!recordings.length) return null;
  const row = (r) => [r.name, count(r.stop - r.start), `${count(r.start)} to ${count(r.stop)}`, withUnit(r.time_start, series.time_unit)];
  return el("section.card", {}, el("h2", {}, "Recordings"), el("p.fine", {}, "Nothing is learned, filled or measured across their borders."), bounded(["Recording", "Steps", "Rows of the series", "Begins at"], recordings, row, "Recordings"));
}

const vectorText = (vector) => vector.map((v) => num(v)).join(", ");

/** The vectors of a family of maps; nothing for a model with one map. */
export function vectorsCard(model) {
  if (!model.recordings?.length) return null;
  return el(
    "section.card",
    {},
    el("h2", {}, "A map for each recording"),
    el("p.fine", {}, "All are the common map, shifted along learned directions by the recording's vector (mean 0, standard deviation 1 over the recordings): recordings with like vectors behave alike."),
    bounded(["Recording", "Vector"], model.recordings, (r) => [r.name, vectorText(r.vector)], "Vectors"),
  );
}

/** What a report says of each recording; nothing for a report on all of them together. */
export function recordingReports(report) {
  if (!report.recordings?.length) return null;
  const row = (r) => [r.fitted ? `${r.name || "–"} (fitted)` : r.name, el(`span.badge.${r.verdict}`, {}, r.verdict), num(r.d_stsp), num(r.d_h), num(r.prediction_error), num(r.lambda_max), vectorText(r.vector)];
  return el("div", {}, el("h3", {}, "Recording by recording"), bounded(["Recording", "Verdict", "d_stsp", "d_h", "Prediction error", "Largest exponent", "Vector"], report.recordings, row, "Each recording under its own map"));
}

/** A control for the name of a recording, and the name that was chosen: a select, or for very many a field. */
export function recordingChoice(name, names, none) {
  if (names.length <= MOST_CHOICES) return el("select", { name }, el("option", { value: "" }, none), names.map((n) => el("option", { value: n }, n)));
  return el("input", { name, type: "text", placeholder: none, autocomplete: "off" });
}
