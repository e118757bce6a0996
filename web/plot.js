// Figures as the service describes them (Plotly JSON), drawn in the page: panels beside or below each other as the width allows,
// values on hovering, a stretch chosen with the mouse enlarged. The page's own curves are described in the same way.
import { el, num, svg } from "./dom.js";
import { dashes, drawPanel, symbol } from "./panel.js";
import { extent, plain } from "./scales.js";

const NARROWEST = 300; // pixels of a panel, before panels go below each other

/** The panels of a figure with their axes, traces, notes and place in a grid. */
function panelsOf({ data, layout }) {
  const numbers = Object.keys(layout).filter((k) => /^xaxis\d*$/.test(k) && !layout[k].overlaying).map((k) => k.slice(5));
  const inside = layout.height - layout.margin.t - layout.margin.b;
  return numbers.map((n) => {
    const [x, y] = [layout[`xaxis${n}`], layout[`yaxis${n}`]];
    const top = Object.values(layout).find((axis) => axis?.overlaying === `x${n}`);
    const notes = layout.annotations.filter((a) => a.xref === `x${n}`);
    const title = layout.annotations.find((a) => a.xref === "paper" && Math.abs(a.x - x.domain[0]) < 1e-6 && Math.abs(a.y - y.domain[1]) < 1e-6);
    return {
      n, x, y, top, notes,
      title: title ? plain(title.text) : "",
      traces: data.filter((t) => t.xaxis === `x${n}`),
      square: Boolean(y.scaleanchor),
      rightNote: notes.some((note) => note.xanchor === "left" && note.x > x.range[0] + 0.97 * (x.range[1] - x.range[0])),
      height: Math.max(110, (y.domain[1] - y.domain[0]) * inside),
    };
  });
}

/** What the colours, dashes and symbols mean. */
function legendOf({ data, layout }) {
  const named = data.filter((t) => t.showlegend);
  if (!named.length) return null;
  return el("p.legend", {}, named.map((trace) => {
    const key = svg("svg", { width: 26, height: 12, "aria-hidden": "true" });
    if (trace.fill) key.append(svg("rect", { width: 26, height: 12, rx: 2, fill: trace.fillcolor }));
    else if (trace.type === "bar") key.append(svg("rect", { width: 26, height: 12, rx: 2, fill: trace.marker.color }));
    else if (trace.mode === "markers") key.append(symbol({ ...trace.marker, size: Math.min(9, trace.marker.size) }, 13, 6, { paper: layout.paper_bgcolor }));
    else key.append(svg("path", { d: "M0 6H26", stroke: trace.line.color, "stroke-width": Math.max(1.6, trace.line.width), ...(dashes(trace.line.dash) ? { "stroke-dasharray": dashes(trace.line.dash) } : {}) }));
    return el("span", {}, key, plain(trace.name));
  }));
}

/**
 * The figure as an element. `onZoom(low, high)` is told of a chosen stretch of the x axis (null: all of it); without it the
 * figure enlarges by itself. `titled` false leaves title and legend to the caller.
 */
export function plot(description, { onZoom, titled = true } = {}) {
  const { layout } = description;
  const panels = panelsOf(description);
  const columns = new Set(panels.map((p) => p.x.domain[0])).size;
  const [title, ...subtitle] = plain((layout.title?.text ?? "").replace("<br>", "\u0000").replaceAll("<br>", " ")).split("\u0000");
  const grid = el("div.panels");
  const all = el("button.small", { type: "button", hidden: true, onclick: () => zoom(null) }, "Show all");
  const shared = panels.some((p) => p.x.matches);
  let chosen = null; // {n, range} of the enlarged panels

  function zoom(range, n) {
    if (onZoom) return onZoom(range);
    chosen = range && { n: shared ? null : n, range };
    all.hidden = !range;
    draw();
  }

  function draw() {
    const width = Math.floor(grid.clientWidth);
    if (width < 60) return;
    const beside = Math.max(1, Math.min(columns, Math.floor((width + 16) / (NARROWEST + 16))));
    grid.style.gridTemplateColumns = `repeat(${beside === columns ? columns : 1}, minmax(0, 1fr))`;
    const each = beside === columns ? Math.floor((width - 16 * (columns - 1)) / columns) : width;
    // Below each other, every panel needs the title that stood above its column.
    const above = (panel) => panels.find((other) => other.title && other.x.domain[0] === panel.x.domain[0])?.title ?? "";
    const titled = panels.map((panel) => (beside === columns ? panel : { ...panel, title: panel.title || above(panel) }));
    grid.replaceChildren(...titled.map((panel) => panelBox(panel, each, title, layout, chosen, zoom)));
  }

  let last = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width !== last) draw();
    last = width;
  }).observe(grid);
  if (!titled) return el("div.plot", {}, grid);
  return el("div.plot", {}, title ? el("h3", {}, title) : null, subtitle.length ? el("p.fine", {}, subtitle.join(" ")) : null, legendOf(description), grid, all);
}

/** A panel as it is seen: all of it, or the chosen stretch with the values in it. */
function seen(panel, chosen) {
  if (!chosen || (chosen.n !== null && chosen.n !== panel.n)) return panel;
  const log = panel.x.type === "log";
  const range = log ? chosen.range.map(Math.log10) : chosen.range;
  const share = (v) => (v - panel.x.range[0]) / (panel.x.range[1] - panel.x.range[0]);
  const top = panel.top && { ...panel.top, range: range.map((v) => panel.top.range[0] + share(v) * (panel.top.range[1] - panel.top.range[0])) };
  const inside = panel.traces.flatMap((t) => (t.type === "scatter" ? t.y.filter((_, i) => t.x[i] >= chosen.range[0] && t.x[i] <= chosen.range[1]) : []));
  const y = panel.y.tickvals || panel.y.type === "log" || !inside.length ? panel.y : { ...panel.y, range: extent(inside) };
  return { ...panel, top, y, x: { ...panel.x, range, ...(panel.x.tickvals ? {} : { tickvals: undefined }) } };
}

/** What is drawn against what, and between which values, for who does not see it. */
function axesOf({ x, y }) {
  const name = (axis) => (axis.title?.text ? plain(axis.title.text) : "");
  const span = y.tickvals ? "" : y.range.map((v) => num(y.type === "log" ? 10 ** v : v)).join(" to ");
  return [name(y) && name(x) ? `${name(y)} against ${name(x)}` : name(y) || name(x), span].filter(Boolean).join(", ");
}

function panelBox(whole, width, title, layout, chosen, zoom) {
  const panel = seen(whole, chosen);
  const label = [title, panel.title, axesOf(panel)].filter(Boolean).join(": ").replaceAll("\n", " ");
  const drawn = drawPanel(panel, width, panel.height, label, { paper: layout.paper_bgcolor });
  const box = el("div.panel", {}, panel.title ? el("p.paneltitle", {}, panel.title) : null, el("div.paper", {}, drawn.root));
  hovering(box.lastChild, panel, drawn, zoom);
  return box;
}

const nearest = (xs, value) => {
  let best = -1;
  for (let i = 0; i < xs.length; i++) if (xs[i] !== null && (best < 0 || Math.abs(xs[i] - value) < Math.abs(xs[best] - value))) best = i;
  return best;
};

/** What is said at a place of the paper: the points beneath it, or where every line is at this x. */
function saying(panel, { x, y }, px, py) {
  for (const trace of panel.traces.filter((t) => t.mode === "markers")) {
    const i = trace.x.findIndex((v, k) => v !== null && trace.y[k] !== null && Math.hypot(x.to(v) - px, y.to(trace.y[k]) - py) < 12);
    if (i >= 0) return trace.text ? plain(trace.text[i]) : `${trace.name ? `${plain(trace.name)}: ` : ""}${num(trace.y[i], 4)}`;
  }
  const lines = panel.traces.filter((t) => t.mode === "lines" && !t.fill && t.hoverinfo !== "name" && t.hoverinfo !== "skip" && t.x.length > 2);
  if (!lines.length) return "";
  const at = x.from(px);
  const said = lines.map((t) => [t, nearest(t.x, at)]).filter(([t, i]) => i >= 0 && t.y[i] !== null);
  if (!said.length) return "";
  const where = said[0][0].x[said[0][1]];
  const name = panel.x.title?.text ? plain(panel.x.title.text) : "x";
  return [`${name}: ${num(where, 5)}`, ...said.map(([t, i]) => `${plain(t.name || panel.y.title?.text || "value")}: ${num(t.y[i], 4)}`)].join("\n");
}

function hovering(paper, panel, drawn, zoom) {
  const { box, x } = drawn;
  const tip = el("div.tip", { hidden: true });
  const line = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const span = svg("rect", { class: "chosen", y: box.top, height: box.bottom - box.top, visibility: "hidden" });
  drawn.root.append(span, line);
  paper.append(tip);
  let from = null;
  const inside = (event) => {
    const place = paper.getBoundingClientRect();
    return [Math.min(box.right, Math.max(box.left, event.clientX - place.left)), event.clientY - place.top];
  };
  paper.addEventListener("pointermove", (event) => {
    const [px, py] = inside(event);
    if (from !== null) {
      span.setAttribute("x", Math.min(from, px));
      span.setAttribute("width", Math.abs(px - from));
      span.setAttribute("visibility", "visible");
    }
    const said = saying(panel, drawn, px, py);
    tip.hidden = said === "";
    line.setAttribute("visibility", said ? "visible" : "hidden");
    tip.textContent = said;
    for (const end of ["x1", "x2"]) line.setAttribute(end, px);
    tip.style.left = `${px < (box.left + box.right) / 2 ? px + 12 : Math.max(0, px - 12 - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(0, Math.min(py, box.bottom - tip.offsetHeight))}px`;
  });
  paper.addEventListener("pointerleave", () => {
    tip.hidden = true;
    line.setAttribute("visibility", "hidden");
  });
  if (panel.x.tickvals || panel.square || panel.traces.some((t) => t.type !== "scatter")) return;
  paper.classList.add("zooms");
  paper.addEventListener("pointerdown", (event) => {
    if (event.pointerType !== "mouse" || event.button !== 0) return;
    [from] = inside(event);
    paper.setPointerCapture(event.pointerId);
  });
  paper.addEventListener("pointerup", (event) => {
    const [px] = inside(event);
    const chosen = from === null ? null : [Math.min(from, px), Math.max(from, px)];
    from = null;
    span.setAttribute("visibility", "hidden");
    if (chosen && chosen[1] - chosen[0] > 8) zoom(chosen.map((p) => x.from(p)), panel.n);
  });
  paper.addEventListener("dblclick", () => zoom(null, panel.n));
}

/**
 * A description of curves over one x axis, a panel each, in the words of the service's figures.
 * `panels`: [{label, lines: [{x, y, role, width, name}], marks}], `log` for the y axes.
 */
export function curves({ title = "", panels, xLabel, range, height = 150, log = false }) {
  const style = getComputedStyle(document.documentElement);
  const colour = (role) => style.getPropertyValue(`--${role}`).trim();
  const data = [];
  const layout = { title: { text: title }, annotations: [], margin: { t: 0, b: 0 }, height: height * panels.length, paper_bgcolor: colour("card") };
  panels.forEach((panel, i) => {
    const n = i ? i + 1 : "";
    const last = i === panels.length - 1;
    const ys = panel.lines.flatMap((l) => l.y).filter((v) => v !== null && (!log || v > 0));
    layout[`xaxis${n}`] = { domain: [0, 1], type: "linear", range: range ?? extent(panel.lines.flatMap((l) => l.x), 0), showticklabels: last, ...(last ? { title: { text: escaped(xLabel) } } : {}), ...(i ? { matches: "x" } : {}) };
    layout[`yaxis${n}`] = { domain: [(panels.length - 1 - i) / panels.length, (panels.length - i) / panels.length], type: log ? "log" : "linear", range: extent(log ? ys.map(Math.log10) : ys), title: { text: escaped(panel.label) } };
    for (const line of panel.lines) {
      data.push({ type: "scatter", mode: "lines", x: line.x, y: line.y, xaxis: `x${n}`, name: escaped(line.name ?? panel.label), showlegend: Boolean(line.name), line: { color: colour(line.role ?? "data"), width: line.width ?? 1.4 } });
    }
    for (const mark of panel.marks ?? []) {
      const [low, high] = layout[`yaxis${n}`].range;
      data.push({ type: "scatter", mode: "lines", fill: "toself", x: [mark.from, mark.to, mark.to, mark.from], y: [low, low, high, high], xaxis: `x${n}`, showlegend: false, hoverinfo: "skip", fillcolor: colour("mark"), line: { width: 0 } });
    }
  });
  return { data, layout };
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
