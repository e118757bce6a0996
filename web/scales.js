// Axes as numbers: where values are on the paper, and which of them are written beside it.
import { num } from "./dom.js";

/** Round tick positions covering [low, high]; steps are 1, 2 or 5 times a power of ten. */
export function ticks(low, high, count = 5) {
  const raw = (high - low) / count;
  if (!(raw > 0) || !Number.isFinite(raw)) return [];
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

/** Ticks of a logarithmic axis whose ends are exponents of ten: powers, and 1-2-5 within where there are few. */
function logTicks(low, high, count) {
  const powers = Array.from({ length: Math.max(0, Math.floor(high) - Math.ceil(low) + 1) }, (_, i) => Math.ceil(low) + i);
  if (powers.length > 2) {
    const every = Math.ceil(powers.length / (count + 1));
    return powers.filter((p) => p % every === 0).map((p) => [10 ** p, num(10 ** p).replace(/^1 × /, "")]);
  }
  const between = [];
  for (let p = Math.floor(low); p <= high; p++) for (const m of [1, 2, 5]) between.push(m * 10 ** p);
  return between.filter((v) => Math.log10(v) >= low - 1e-9 && Math.log10(v) <= high + 1e-9).map((v) => [v, num(v)]);
}

/** An axis of a figure: `to(value)` in pixels, `from(pixel)`, `ticks` as [value, text] pairs. */
export function makeAxis({ type, range, tickvals, ticktext }, start, end, count) {
  const log = type === "log";
  const [low, high] = range;
  const inner = (v) => (log ? Math.log10(v) : v);
  const inside = (v) => inner(v) >= low - 1e-9 * (high - low) && inner(v) <= high + 1e-9 * (high - low);
  let written;
  if (tickvals) written = tickvals.map((v, i) => [v, plain(ticktext[i])]).filter(([v]) => inside(v));
  else written = log ? logTicks(low, high, count) : ticks(low, high, count).map((v) => [v, num(v, 6)]);
  return {
    log,
    to: (v) => start + ((inner(v) - low) / (high - low)) * (end - start),
    from: (pixel) => {
      const at = low + ((pixel - start) / (end - start)) * (high - low);
      return log ? 10 ** at : at;
    },
    inner,
    ticks: written,
  };
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };

/** Plotly's little HTML as plain text: lines broken, emphasis dropped, entities read. */
export function plain(html) {
  return html.replace(/<br>/g, "\n").replace(/<[^>]*>/g, "").replace(/&(lt|gt|amp);/g, (entity) => ENTITIES[entity]);
}
