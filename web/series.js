// A stored series: a look at the data, what the audit found, and the start of a job.
import { get } from "./api.js";
import { seriesBrowser } from "./browser.js";
import { columnOf, el, num, plural, table, when, withUnit } from "./dom.js";
import { tableFiles } from "./files.js";
import { auditedRows } from "./preview.js";
import { recordingsCard } from "./recordings.js";
import { startForm } from "./start.js";

const SHOWN_ROWS = 8; // rows named by the audit that are shown with their neighbours

export async function seriesView(context, id) {
  const series = await get(`/v1/series/${id}`);
  const { profile } = series;
  const curves = seriesBrowser(series, context); // asks for its rows at once
  const [found, start, before] = await Promise.all([auditCard(series), startForm(context, series), resultsCard(id)]);
  const serious = profile.issues.some((issue) => issue.severity !== "info");
  const recordings = profile.recordings?.length ? ` in ${plural(profile.recordings.length, "recording")}` : "";
  return el(
    "div",
    {},
    el("p.fine", {}, "Series"),
    el("h1", {}, series.name || id),
    el("p", {}, `${plural(profile.n_steps, "step")} of ${plural(profile.n_channels, "channel")}${recordings}, one every ${withUnit(series.dt, series.time_unit)}; ${withUnit(profile.duration, series.time_unit)} in all.`),
    serious ? found : null,
    start,
    el("section.card", {}, el("h2", {}, "The series"), curves, el("p.fine", {}, "Download: ", tableFiles(`/v1/series/${id}/data`, id))),
    recordingsCard(series),
    serious ? null : found,
    before,
  );
}

async function auditCard(series) {
  const { profile } = series;
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
    await namedRows(series),
    table(
      ["Channel", "Minimum", "Maximum", "Mean", "Standard deviation", "Missing", "Distinct values"],
      profile.channels.map((c) => [c.name, num(c.minimum, 4), num(c.maximum, 4), num(c.mean, 4), num(c.std, 4), num(c.n_missing), c.n_unique >= 1000 ? "1,000 or more" : num(c.n_unique)]),
      "Channels",
    ),
  );
}

/** The rows that issues name, as they are stored, between their neighbours; the cells that an issue speaks of are marked. */
async function namedRows(series) {
  const { profile, channels } = series;
  const wrong = new Map(); // row -> channels, null for all
  for (const issue of profile.issues) {
    const column = channels.indexOf(columnOf(issue.pointer));
    for (const row of issue.rows) wrong.set(row, column < 0 ? null : [...(wrong.get(row) ?? []), column]);
  }
  const rows = [...wrong.keys()].sort((a, b) => a - b).slice(0, SHOWN_ROWS);
  if (!rows.length) return null;
  const wanted = new Map();
  for (const row of rows) for (const n of [row - 1, row, row + 1]) if (n >= 0 && n < profile.n_steps) wanted.set(n, null);
  await Promise.all(stretches([...wanted.keys()].sort((a, b) => a - b)).map(async ([start, stop]) => {
    const { values } = await get(`/v1/series/${series.id}/data?format=json&start=${start}&stop=${stop}`);
    values.forEach((row, i) => wanted.set(start + i, row.map((v) => (v === null ? "" : num(v, 6)))));
  }));
  const numbered = [...wanted].sort(([a], [b]) => a - b);
  const empty = (n) => wanted.get(n).map((cell, k) => (cell === "" ? k : -1)).filter((k) => k >= 0);
  const isBad = (n, k) => {
    if (!wrong.has(n)) return false;
    const named = wrong.get(n) ?? (empty(n).length ? empty(n) : null);
    return named === null || named.includes(k);
  };
  return auditedRows(channels, numbered, isBad);
}

/** [start, stop) of every run of neighbouring numbers. */
function stretches(rows) {
  const runs = [];
  for (const row of rows) {
    const last = runs[runs.length - 1];
    if (last && row === last[1]) last[1] = row + 1;
    else runs.push([row, row + 1]);
  }
  return runs;
}

async function resultsCard(id) {
  const [models, analyses] = await Promise.all([get(`/v1/models?series_id=${id}&limit=10`), get(`/v1/analyses?series_id=${id}&limit=10`)]);
  const rows = [
    ...models.data.map((m) => [el("a", { href: `#${m.id}` }, `Model ${m.architecture} ${m.id.slice(-6)}`), el(`span.badge.${m.report.verdict}`, {}, m.report.verdict), when(m.created_at)]),
    ...analyses.data.map((a) => [el("a", { href: `#${a.id}` }, `Analysis ${a.id.slice(-6)}`), el(`span.badge.${a.verdict.kind}`, {}, a.verdict.kind), when(a.created_at)]),
  ];
  return rows.length ? el("section.card", {}, el("h2", {}, "Found out before"), table(["Result", "Verdict", "Made"], rows, "Results of this series", true)) : null;
}
