// One panel of a figure as SVG: axes, lines, bands, points with intervals, bars, cells, notes.
import { svg } from "./dom.js";
import { makeAxis, plain } from "./scales.js";

const LETTER = 6.2; // pixels, about, of a letter beside an axis
const DASHES = { dash: "7 5", dot: "2 4", dashdot: "7 4 2 4" };
let counted = 0;

export const dashes = (dash) => DASHES[dash] ?? null;

/** Pixels around the plotting area: as the labels need them. `beside` is false where labels go above their rows. */
function margins(panel, width) {
  const { x, y, top } = panel;
  const title = (axis) => (axis.title?.text ? plain(axis.title.text).split("\n").length : 0);
  const lines = (y.ticktext ?? []).flatMap((text) => plain(text).split("\n"));
  const longest = Math.max(0, ...lines.map((line) => line.length)) * LETTER;
  const beside = longest < Math.max(60, width * 0.3);
  const labels = y.ticktext ? (beside ? Math.max(longest, 46) : 0) : 46;
  return {
    beside,
    left: Math.ceil(8 + labels + 16 * title(y)),
    right: panel.rightNote ? 84 : 14,
    top: 8 + (top ? 36 : 0),
    bottom: (x.showticklabels === false ? 8 : 22) + 17 * title(x),
  };
}

/** The panel drawn `width` wide around a plotting area `high` high. Answers the SVG with what hovering needs. */
export function drawPanel(panel, width, high, label, colours) {
  const m = margins(panel, width);
  const right = width - m.right;
  const area = panel.square ? Math.min(right - m.left, high) : high;
  const height = m.top + area + m.bottom;
  const end = panel.square ? m.left + area : right;
  const x = makeAxis(panel.x, m.left, end, Math.max(3, Math.floor((end - m.left) / 90)));
  const y = makeAxis(panel.y, m.top + area, m.top, Math.max(3, Math.floor(area / 42)));
  const box = { left: m.left, right: end, top: m.top, bottom: m.top + area };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  const clip = `clip${++counted}`;
  root.append(svg("clipPath", { id: clip }, svg("rect", { x: box.left, y: box.top - 1, width: Math.max(0, end - box.left), height: area + 2 })));
  drawAxes(root, panel, box, x, y, m.beside, height);
  if (panel.top) drawTop(root, panel, box);
  const marks = svg("g", { "clip-path": `url(#${clip})` });
  const points = svg("g");
  for (const trace of panel.traces) drawTrace(trace, x, y, marks, points, colours);
  root.append(marks, points);
  for (const note of panel.notes) root.append(noteText(note, x, y));
  return { root, box, x, y, height };
}

function words(px, py, text, anchor, className) {
  const lines = text.split("\n");
  const node = svg("text", { x: px, y: py, "text-anchor": anchor, class: className });
  lines.forEach((line, i) => node.append(svg("tspan", { x: px, dy: i ? "1.15em" : `${-0.575 * (lines.length - 1)}em` }, line)));
  return node;
}

function drawAxes(root, panel, box, x, y, beside, height) {
  for (const [value, text] of y.ticks) {
    const at = y.to(value);
    root.append(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: at, y2: at }));
    root.append(beside ? words(box.left - 7, at + 4, text, "end", "ticktext") : words(box.left + 2, at - 9, text.replaceAll("\n", ", "), "start", "ticktext"));
  }
  let free = -Infinity;
  for (const [value, text] of x.ticks) {
    const at = x.to(value);
    root.append(svg("line", { class: "grid", x1: at, x2: at, y1: box.top, y2: box.bottom }));
    if (panel.x.showticklabels === false) continue;
    const half = (text.length * LETTER) / 2;
    if (at - half < free) continue; // would run into the label before
    free = at + half + 6;
    root.append(words(Math.min(at, box.right + 12 - half), box.bottom + 16, text, "middle", "ticktext"));
  }
  root.append(svg("path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
  if (panel.x.title?.text) root.append(words((box.left + box.right) / 2, height - 5, plain(panel.x.title.text), "middle", "label"));
  if (panel.y.title?.text) {
    const title = words(0, 0, plain(panel.y.title.text), "middle", "label");
    const lines = plain(panel.y.title.text).split("\n").length;
    title.setAttribute("transform", `translate(${4 + 8 * lines} ${(box.top + box.bottom) / 2}) rotate(-90)`);
    root.append(title);
  }
}

function drawTop(root, panel, box) {
  const axis = makeAxis(panel.top, box.left, box.right, Math.max(2, Math.floor((box.right - box.left) / 90)));
  root.append(svg("path", { class: "axis", d: `M${box.left} ${box.top}H${box.right}` }));
  for (const [value, text] of axis.ticks) root.append(words(axis.to(value), box.top - 7, text, "middle", "ticktext"));
  root.append(words((box.left + box.right) / 2, box.top - 24, plain(panel.top.title.text), "middle", "label"));
}

function noteText(note, x, y) {
  const anchor = { left: "start", right: "end", center: "middle" }[note.xanchor];
  const at = (axis, v) => axis.to(axis.log ? 10 ** v : v);
  const node = words(at(x, note.x), at(y, note.y) + 4, plain(note.text), anchor, "note");
  node.setAttribute("fill", note.font.color);
  return node;
}

/** SVG path through the points; a missing value, or one that a logarithm has no place for, interrupts the line. */
function path(xs, ys, x, y) {
  let d = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    const [px, py] = xs[i] === null || ys[i] === null ? [NaN, NaN] : [x.to(xs[i]), y.to(ys[i])];
    if (!Number.isFinite(px) || !Number.isFinite(py)) {
      pen = "M";
      continue;
    }
    d += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
    pen = "L";
  }
  return d;
}

function drawTrace(trace, x, y, marks, points, colours) {
  if (trace.type === "heatmap") return marks.append(cells(trace, x, y));
  if (trace.type === "bar") return bars(trace, x, y, marks);
  const d = path(trace.x, trace.y, x, y);
  if (trace.fill) return d && marks.append(svg("path", { d: `${d.replaceAll("M", "L").replace("L", "M")}Z`, fill: trace.fillcolor, stroke: "none" }));
  if (trace.mode === "lines") {
    const { color, width, dash } = trace.line;
    return d && marks.append(svg("path", { class: "line", d, stroke: color, "stroke-width": width, ...(dashes(dash) ? { "stroke-dasharray": dashes(dash) } : {}) }));
  }
  return drawPoints(trace, x, y, points, colours);
}

function drawPoints(trace, x, y, points, colours) {
  trace.x.forEach((value, i) => {
    if (value === null || trace.y[i] === null) return;
    const [px, py] = [x.to(value), y.to(trace.y[i])];
    if (!Number.isFinite(px) || !Number.isFinite(py)) return;
    for (const [name, axis] of [["error_y", y], ["error_x", x]]) {
      const error = trace[name];
      if (error?.array[i] == null || error.arrayminus[i] == null) continue;
      const centre = name === "error_y" ? trace.y[i] : value;
      const [from, to] = [axis.to(centre - error.arrayminus[i]), axis.to(centre + error.array[i])];
      const ends = name === "error_y" ? { x1: px, x2: px, y1: from, y2: to } : { y1: py, y2: py, x1: from, x2: to };
      if ([from, to].every(Number.isFinite)) points.append(svg("line", { ...ends, stroke: error.color, "stroke-width": 2 }));
    }
    points.append(symbol(trace.marker, px, py, colours));
  });
}

/** A mark of a scatter plot, or of a legend. */
export function symbol({ symbol: shape, size, color, line }, px, py, colours) {
  const r = size / 2;
  const fill = color === colours.paper ? "var(--card)" : color;
  const look = { fill, stroke: line?.width ? line.color : "none", "stroke-width": line?.width ?? 0 };
  if (shape === "x") {
    return svg("path", { d: `M${px - r} ${py - r}L${px + r} ${py + r}M${px - r} ${py + r}L${px + r} ${py - r}`, stroke: line?.width ? line.color : color, "stroke-width": 2.5, fill: "none" });
  }
  if (shape === "diamond") return svg("path", { d: `M${px} ${py - r * 1.25}L${px + r * 1.25} ${py}L${px} ${py + r * 1.25}L${px - r * 1.25} ${py}Z`, ...look });
  if (shape === "square") return svg("rect", { x: px - r, y: py - r, width: size, height: size, ...look });
  return svg("circle", { cx: px, cy: py, r, ...look });
}

function bars(trace, x, y, marks) {
  const upright = trace.orientation !== "h";
  trace.x.forEach((value, i) => {
    if (value === null || trace.y[i] === null) return;
    const along = upright ? x : y;
    const over = upright ? y : x;
    const [centre, length] = upright ? [value, trace.y[i]] : [trace.y[i], value];
    const [a, b] = [along.to(centre - trace.width / 2), along.to(centre + trace.width / 2)].sort((p, q) => p - q);
    const [c, d] = [over.to(0), over.to(length)].sort((p, q) => p - q);
    const place = upright ? { x: a, width: b - a, y: c, height: d - c } : { y: a, height: b - a, x: c, width: d - c };
    marks.append(svg("rect", { ...place, fill: trace.marker.color }));
  });
}

const channels = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** A colour between the stops of a scale. */
export function between(scale, share) {
  const upper = Math.max(1, scale.findIndex(([at]) => at >= share));
  const [[low, from], [high, to]] = [scale[upper - 1], scale[upper]];
  const t = (Math.min(1, Math.max(0, share)) - low) / (high - low);
  const [a, b] = [channels(from), channels(to)];
  return a.map((v, i) => Math.round(v + (b[i] - v) * t));
}

/** A heat map as one picture: a pixel a cell, nothing where nothing is. */
function cells(trace, x, y) {
  const [rows, columns] = [trace.z.length, trace.z[0].length];
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(columns, rows);
  trace.z.forEach((row, i) => row.forEach((value, j) => {
    if (!value) return;
    const colour = between(trace.colorscale, (value - trace.zmin) / (trace.zmax - trace.zmin));
    picture.data.set([...colour, 255], 4 * ((rows - 1 - i) * columns + j));
  }));
  context.putImageData(picture, 0, 0);
  const edges = (centres) => {
    const half = (centres[1] - centres[0]) / 2;
    return [centres[0] - half, centres[centres.length - 1] + half];
  };
  const [[x0, x1], [y0, y1]] = [edges(trace.x), edges(trace.y)];
  const place = { x: x.to(x0), y: y.to(y1), width: x.to(x1) - x.to(x0), height: y.to(y0) - y.to(y1) };
  return svg("image", { href: canvas.toDataURL(), preserveAspectRatio: "none", class: "cells", ...place });
}
