// The curves of a stored series, however long: the service thins them and keeps every extreme, a chosen stretch is asked for anew.
import { authorizedFetch } from "./session.js";
import { count, el, problemBox } from "./dom.js";
import { curves, plot } from "./plot.js";

const SHOWN_CHANNELS = 6;
const SMALLEST = 20; // rows of a stretch
const POINTS_PER_CHANNEL = 1400; // about two for each pixel

/** Rows [start, stop) of some channels, thinned. */
async function rowsOf(series, names, start, stop, signal) {
  const points = Math.min(20000, POINTS_PER_CHANNEL * (2 * names.length + 1) / 2);
  const channels = encodeURIComponent(JSON.stringify(names));
  const response = await authorizedFetch(`/v1/series/${series.id}/data?format=json&start=${start}&stop=${stop}&max_points=${Math.round(points)}&channels=${channels}`, { signal });
  const document = await response.json();
  if (!response.ok) throw Object.assign(new Error(document.detail), { document });
  return document;
}

/** Rows that the audit names, as stretches of time to be marked in the curves. */
function marksOf(series, data, dt) {
  const rowTimes = data.rows ?? data.time.map((_, i) => data.start + i);
  const time = (row) => {
    const i = rowTimes.findIndex((r) => r >= row);
    return i < 0 ? null : data.time[i] - (rowTimes[i] - row) * dt;
  };
  return series.profile.issues.flatMap((issue) => issue.rows.filter((r) => r >= data.start && r < data.stop).map((row) => {
    const at = time(row);
    const least = ((data.time[data.time.length - 1] - data.time[0]) || 1) * 0.002;
    return at === null ? null : { from: at - Math.max(dt / 2, least), to: at + Math.max(dt / 2, least) };
  })).filter(Boolean);
}

/** One channel of the rows; the line breaks where another recording begins. */
function curve({ time, values, recording }, k) {
  const [x, y] = [[], []];
  values.forEach((row, i) => {
    if (recording && i && recording[i] !== recording[i - 1]) {
      x.push(time[i]);
      y.push(null);
    }
    x.push(time[i]);
    y.push(row[k]);
  });
  return { x, y };
}

/** The browser as an element; answers it at once and fills it when the first rows are there. */
export function seriesBrowser(series, context) {
  const total = series.profile.n_steps;
  const names = series.profile.channels.slice(0, SHOWN_CHANNELS).map((c) => c.name);
  const paper = el("div.waiting", { "aria-busy": "true" });
  const where = el("p.fine", { role: "status" });
  const buttons = [
    ["Whole series", () => [0, total]],
    ["Closer", (a, b) => around((a + b) / 2, (b - a) / 3)],
    ["Farther", (a, b) => around((a + b) / 2, (b - a) * 3)],
    ["Earlier", (a, b) => around((a + b) / 2 - (b - a) / 2, b - a)],
    ["Later", (a, b) => around((a + b) / 2 + (b - a) / 2, b - a)],
  ].map(([name, next]) => el("button.small", { type: "button", onclick: () => load(...next(start, stop)) }, name));
  let [start, stop] = [0, total];
  let data = null;
  let pending = null;

  function around(centre, span) {
    const length = Math.round(Math.min(total, Math.max(SMALLEST, span)));
    const first = Math.round(Math.min(total - length, Math.max(0, centre - length / 2)));
    return [first, first + length];
  }

  // Recordings have clocks of their own: a collection is drawn over its rows.
  const collection = (series.profile.recordings?.length ?? 0) > 1;
  const xLabel = collection ? `row, ${series.profile.recordings.length} recordings end to end` : `time${series.time_unit ? ` in ${series.time_unit === "step" ? "steps" : series.time_unit}` : ""}`;

  async function load(from, to) {
    pending?.abort();
    pending = new AbortController();
    try {
      const found = await rowsOf(series, names, from, to, pending.signal);
      if (collection) found.time = found.rows ?? found.time.map((_, i) => found.start + i);
      [data, start, stop] = [found, from, to];
      draw();
    } catch (problem) {
      if (problem.name !== "AbortError") paper.replaceChildren(problemBox(problem));
    }
  }

  function draw() {
    const marks = marksOf(series, data, collection ? 1 : series.dt);
    const panels = data.channels.map((name, k) => ({ label: name, marks, lines: [curve(data, k)] }));
    const description = curves({ panels, xLabel, height: 130 });
    paper.className = "";
    paper.removeAttribute("aria-busy");
    paper.replaceChildren(plot(description, { onZoom: (range) => load(...rowsIn(range)), titled: false }));
    const thinned = data.decimation ? `; drawn from ${count(data.decimation.kept)} of them, every smallest and largest value kept` : "";
    where.textContent = `Steps ${count(start)} to ${count(stop)} of ${count(total)}${thinned}.`;
  }

  /** The rows between two times. */
  function rowsIn(range) {
    if (!range) return [0, total];
    const row = (i) => (data.rows ? data.rows[i] : data.start + i);
    const first = data.time.findLastIndex((t) => t <= range[0]);
    const last = data.time.findIndex((t) => t >= range[1]);
    const [a, b] = [first < 0 ? start : row(first), last < 0 ? stop : row(last) + 1];
    return b - a < SMALLEST ? around((a + b) / 2, SMALLEST) : [a, b];
  }

  load(0, total);
  const recolour = () => data && draw();
  document.addEventListener("themechange", recolour);
  context.onLeave(() => document.removeEventListener("themechange", recolour));
  const more = series.profile.n_channels > SHOWN_CHANNELS ? el("p.fine", {}, `The first ${SHOWN_CHANNELS} of ${series.profile.n_channels} channels; the files hold all.`) : null;
  return el("div", {}, el("div.inline.tight", { role: "group", "aria-label": "Stretch of the series" }, buttons), where, paper, more, el("p.fine", {}, "Drag over the curves to enlarge a stretch; a double click shows the whole series."));
}
