// Line and spectrum charts as SVG: drawn by style sheet colours, so they follow light and dark by themselves.
import { el, num, svg } from "./dom.js";

const MARGIN = { top: 10, right: 14, bottom: 34, left: 58 };

/** Round tick positions covering [low, high]; steps are 1, 2 or 5 times a power of ten. */
export function ticks(low, high, count = 5) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** [min, max] of the finite values, widened by a share of their span; never empty. */
export function extent(values, margin = 0.05) {
  let low = Infinity;
  let high = -Infinity;
  for (const v of values) {
    if (v === null || v === undefined || !Number.isFinite(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  if (low > high) return [0, 1];
  const pad = high > low ? (high - low) * margin : Math.abs(high) * 0.1 || 1;
  return [low - pad, high + pad];
}

/** Draws now and again whenever the width of its box changes. */
function responsive(height, label, draw) {
  const box = el("div.chart");
  const observer = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width < 60 || width === Number(box.dataset.width)) return;
    box.dataset.width = width;
    const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
    draw(root, width);
    box.replaceChildren(root);
  });
  observer.observe(box);
  return box;
}

function axes(root, width, height, x, y, { xTicks, yTicks, xLabel, yLabel, xText = num, yText = num }) {
  const bottom = height - MARGIN.bottom;
  for (const t of yTicks) {
    root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(t), y2: y(t) }));
    root.append(text(MARGIN.left - 6, y(t) + 4, yText(t), "end"));
  }
  for (const t of xTicks) {
    root.append(svg("line", { class: "tick", x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4 }));
    root.append(text(x(t), bottom + 16, xText(t), "middle"));
  }
  root.append(svg("line", { class: "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: bottom, y2: bottom }));
  if (xLabel) root.append(text((MARGIN.left + width - MARGIN.right) / 2, height - 3, xLabel, "middle", "label"));
  if (yLabel) {
    const label = text(0, 0, yLabel, "middle", "label");
    label.setAttribute("transform", `translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)`);
    root.append(label);
  }
}

function text(x, y, content, anchor, className = "ticktext") {
  return svg("text", { x, y, "text-anchor": anchor, class: className }, content);
}

function scale(low, high, from, to) {
  return (v) => from + ((v - low) / (high - low)) * (to - from);
}

/** SVG path through the points; a missing value interrupts the line. */
function path(xs, ys, x, y) {
  let d = "";
  let pen = "M";
  for (let i = 0; i < xs.length; i++) {
    if (ys[i] === null || ys[i] === undefined) {
      pen = "M";
      continue;
    }
    d += `${pen}${x(xs[i]).toFixed(1)} ${y(ys[i]).toFixed(1)}`;
    pen = "L";
  }
  return d;
}

/** Closed outline between two curves, as far as both have values. */
function bandPath(band, x, y) {
  const known = band.x.map((_, i) => i).filter((i) => band.low[i] !== null && band.high[i] !== null);
  const curve = (indices, values) => path(indices.map((i) => band.x[i]), indices.map((i) => values[i]), x, y);
  return `${curve(known, band.high)}${curve(known.reverse(), band.low).replace("M", "L")}Z`;
}

/**
 * lines: [{x, y, kind}], band: {x, low, high}, markers: [{x, text, kind}]; `kind` is a class of the style sheet.
 */
export function lineChart({ lines, band, markers = [], xLabel, yLabel, height = 190, label }) {
  return responsive(height, label, (root, width) => {
    const xs = lines.flatMap((l) => l.x);
    const [x0, x1] = extent(xs, 0);
    const [y0, y1] = extent([...lines.flatMap((l) => l.y), ...(band ? [...band.low, ...band.high] : [])]);
    const x = scale(x0, x1, MARGIN.left, width - MARGIN.right);
    const top = MARGIN.top + 13 * markers.filter((m) => m.text).length;
    const y = scale(y0, y1, height - MARGIN.bottom, top);
    axes(root, width, height, x, y, {
      xTicks: ticks(x0, x1, width < 420 ? 3 : 7), yTicks: ticks(y0, y1, 4), xLabel, yLabel,
    });
    if (band) root.append(svg("path", { class: "band", d: bandPath(band, x, y) }));
    for (const line of lines) root.append(svg("path", { class: `line ${line.kind}`, d: path(line.x, line.y, x, y) }));
    markers.filter((m) => m.x >= x0 && m.x <= x1).forEach((marker, i) => {
      const at = x(marker.x);
      root.append(svg("line", { class: `marker ${marker.kind}`, x1: at, x2: at, y1: MARGIN.top, y2: height - MARGIN.bottom }));
      const left = at + marker.text.length * 6 > width;
      root.append(text(at + (left ? -4 : 4), MARGIN.top + 9 + 13 * i, marker.text, left ? "end" : "start", "markertext"));
    });
  });
}

/** Lyapunov exponents of data and model, side by side; the axis is compressed (asinh) where one exponent dwarfs the others. */
export function spectrumChart(series, unit) {
  const all = series.flatMap((s) => s.exponents.flatMap((e, i) => [e, ...(s.ci?.[i] ?? [])])).filter((v) => v !== null);
  const count = Math.max(...series.map((s) => s.exponents.length));
  const largest = Math.max(...all.map(Math.abs), 1e-12);
  const top = Math.max(...series.map((s) => Math.abs(s.exponents[0] ?? 0)));
  const linearTo = top > 0 && largest / top > 5 ? Math.max(top, largest / 1000) : Infinity;
  const squeeze = (v) => (linearTo === Infinity ? v : Math.asinh(v / linearTo));
  const height = 230;
  const label = `Lyapunov exponents in ${unit}: ${series.map((s) => `${s.name} ${s.exponents.map((e) => num(e)).join(", ")}`).join("; ")}`;
  return responsive(height, label, (root, width) => {
    const [low, high] = extent([...all, 0].map(squeeze));
    const onAxis = scale(low, high, height - MARGIN.bottom, MARGIN.top);
    const y = (v) => onAxis(squeeze(v));
    const x = scale(0.5, count + 0.5, MARGIN.left, width - MARGIN.right);
    const yTicks = linearTo === Infinity ? ticks(low, high, 5) : compressedTicks(low, high, linearTo);
    const xTicks = Array.from({ length: count }, (_, i) => i + 1).filter((i) => count <= 12 || i % Math.ceil(count / 10) === 1);
    axes(root, width, height, x, y, { xTicks, yTicks, xLabel: "exponent", yLabel: `λ in ${unit}`, xText: (i) => `λ${subscript(i)}` });
    root.append(svg("line", { class: "zero", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(0), y2: y(0) }));
    const gap = Math.min(14, (width - MARGIN.left) / count / 4);
    series.forEach((s, k) => {
      s.exponents.forEach((e, i) => {
        if (e === null) return;
        const at = x(i + 1) + (k - (series.length - 1) / 2) * gap * 2;
        const ci = s.ci?.[i];
        if (ci) root.append(svg("line", { class: `error ${s.kind}`, x1: at, x2: at, y1: y(ci[0]), y2: y(ci[1]) }));
        root.append(svg("circle", { class: `dot ${s.kind}`, cx: at, cy: y(e), r: 5 }, svg("title", {}, `${s.name}: ${num(e, 4)} ${unit}`)));
      });
    });
  });
}

function subscript(i) {
  return String(i).replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);
}

/** Ticks of an axis of asinh(v / linearTo): zero, and 1-2-5 steps per decade on both sides, as far as they stay apart. */
function compressedTicks(low, high, linearTo) {
  const kept = [0];
  const position = (v) => Math.asinh(v / linearTo);
  for (let power = Math.ceil(Math.log10(linearTo)) + 6; power >= Math.floor(Math.log10(linearTo)); power--) {
    for (const m of [5, 2, 1]) {
      for (const value of [m, -m].map((v) => Number((v * 10 ** power).toPrecision(1)))) {
        const inside = position(value) >= low && position(value) <= high;
        if (inside && kept.every((k) => Math.abs(position(k) - position(value)) > (high - low) * 0.13)) kept.push(value);
      }
    }
  }
  return kept;
}

/** The colours' meaning, above a chart. */
export function legend(entries) {
  return el("p.legend", {}, entries.map(([kind, name]) => el("span", {}, el(`span.key.${kind}`, { "aria-hidden": "true" }), name)));
}
