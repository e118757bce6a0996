// Attractors side by side in one common box: three axes turned together, two axes, or a delay plot.
import { el, num } from "./dom.js";
import { extent, ticks } from "./scales.js";

const DEPTHS = 6; // shades of the far and the near parts of a trajectory

/** Rows of channels (or of a delay embedding, for one channel) as coordinates to plot. */
function coordinates(rows, picked, delay) {
  if (delay) return rows.slice(delay).map((row, i) => [rows[i][0], row[0]]);
  return rows.map((row) => picked.map((k) => row[k]));
}

/** Pieces of the trajectory to draw without lifting the pen; a missing value ends one. */
function segments(points) {
  const runs = [[]];
  for (const p of points) {
    if (p.some((v) => v === null || !Number.isFinite(v))) runs.push([]);
    else runs[runs.length - 1].push(p);
  }
  return runs.filter((run) => run.length > 1);
}

class View {
  constructor(name, colour, points, limits, labels) {
    this.colour = colour;
    this.runs = segments(points);
    this.limits = limits;
    this.labels = labels;
    this.canvas = el("canvas", {
      tabindex: labels.length === 3 ? "0" : null,
      role: "img",
      "aria-label": `${name}, ${labels.join(" against ")}${labels.length === 3 ? "; arrow keys turn it" : ""}`,
    });
    this.figure = el("figure", {}, this.canvas, el("figcaption", {}, el(`span.key.${colour}`, { "aria-hidden": "true" }), name));
  }

  draw(angles) {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width) return;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    this.ink = style.getPropertyValue("--muted").trim();
    this.line = style.getPropertyValue(`--${this.colour}`).trim();
    context.font = "11px system-ui, sans-serif";
    if (this.labels.length === 3) this.drawSpace(context, box.width, box.height, angles);
    else this.drawPlane(context, box.width, box.height);
  }

  drawSpace(context, width, height, { turn, tilt }) {
    const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    const size = Math.min(width * 0.36, height * 0.46);
    const project = (p) => {
      const [a, b, c] = p.map((v, k) => (2 * (v - this.limits[k][0])) / (this.limits[k][1] - this.limits[k][0]) - 1);
      const along = ct * a - st * b;
      const depth = st * a + ct * b;
      return [width / 2 + size * along * 0.86, height / 2 - size * (cp * c + sp * depth) * 0.86, cp * depth - sp * c];
    };
    this.drawFrame(context, project, width, height);
    this.stroke(context, project);
  }

  drawFrame(context, project, width, height) {
    const low = this.limits.map((l) => l[0]);
    context.strokeStyle = this.ink;
    context.fillStyle = this.ink;
    context.lineWidth = 1;
    // The corner farthest away carries the three axes, so that they stay behind the trajectory.
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => this.limits.map((l, k) => l[(bits >> k) & 1]));
    const origin = corners.reduce((far, c) => (project(c)[2] > project(far)[2] ? c : far), low);
    for (let k = 0; k < 3; k++) {
      const ends = this.limits[k].map((v) => origin.map((o, i) => (i === k ? v : o)));
      const [[x0, y0], [x1, y1]] = ends.map(project);
      context.globalAlpha = 0.6;
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
      context.globalAlpha = 1;
      const length = Math.hypot(x1 - x0, y1 - y0) || 1;
      let [nx, ny] = [-(y1 - y0) / length, (x1 - x0) / length];
      if (nx * ((x0 + x1) / 2 - width / 2) + ny * ((y0 + y1) / 2 - height / 2) < 0) [nx, ny] = [-nx, -ny];
      context.textAlign = nx > 0.3 ? "left" : nx < -0.3 ? "right" : "center";
      context.textBaseline = "middle";
      if (length > 60) {
        for (const t of ticks(...this.limits[k], 4)) {
          const [x, y] = project(origin.map((o, i) => (i === k ? t : o)));
          context.beginPath();
          context.moveTo(x, y);
          context.lineTo(x + 4 * nx, y + 4 * ny);
          context.stroke();
          context.fillText(num(t), x + 9 * nx, y + 9 * ny);
        }
      }
      const far = length > 60 ? 34 : 14;
      context.font = "bold 12px system-ui, sans-serif";
      context.fillText(this.labels[k], (x0 + x1) / 2 + far * nx, (y0 + y1) / 2 + far * 0.8 * ny);
      context.font = "11px system-ui, sans-serif";
    }
  }

  /** The trajectory in a few shades by depth: near parts strong, far parts faint. */
  stroke(context, project) {
    const shades = Array.from({ length: DEPTHS }, () => new Path2D());
    for (const run of this.runs) {
      let before = project(run[0]);
      for (let i = 1; i < run.length; i++) {
        const now = project(run[i]);
        const shade = Math.min(DEPTHS - 1, Math.max(0, Math.floor(((1.7 - now[2]) / 3.4) * DEPTHS)));
        shades[shade].moveTo(before[0], before[1]);
        shades[shade].lineTo(now[0], now[1]);
        before = now;
      }
    }
    context.strokeStyle = this.line;
    context.lineWidth = 1;
    shades.forEach((path, i) => {
      context.globalAlpha = 0.4 + (0.55 * i) / (DEPTHS - 1);
      context.stroke(path);
    });
    context.globalAlpha = 1;
  }

  drawPlane(context, width, height) {
    const [left, bottom, top, right] = [52, height - 38, 10, width - 12];
    const x = (v) => left + ((v - this.limits[0][0]) / (this.limits[0][1] - this.limits[0][0])) * (right - left);
    const y = (v) => bottom - ((v - this.limits[1][0]) / (this.limits[1][1] - this.limits[1][0])) * (bottom - top);
    context.strokeStyle = this.ink;
    context.fillStyle = this.ink;
    context.globalAlpha = 0.5;
    context.strokeRect(left, top, right - left, bottom - top);
    context.globalAlpha = 1;
    context.textBaseline = "top";
    context.textAlign = "center";
    for (const t of ticks(...this.limits[0], 5)) context.fillText(num(t), x(t), bottom + 6);
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (const t of ticks(...this.limits[1], 5)) context.fillText(num(t), left - 6, y(t));
    context.font = "bold 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.fillText(this.labels[0], (left + right) / 2, height - 9);
    context.translate(10, (top + bottom) / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(this.labels[1], 0, 0);
    context.rotate(Math.PI / 2);
    context.translate(-10, -(top + bottom) / 2);
    this.stroke(context, (p) => [x(p[0]), y(p[1]), 0]);
  }
}

function turnByHand(views, angles, redraw) {
  let from = null;
  for (const { canvas } of views) {
    canvas.classList.add("turns");
    canvas.addEventListener("pointerdown", (event) => {
      from = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      angles.turn += (event.clientX - from[0]) * 0.01;
      angles.tilt = Math.max(-1.5, Math.min(1.5, angles.tilt + (event.clientY - from[1]) * 0.01));
      from = [event.clientX, event.clientY];
      redraw();
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (from = null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
      if (!step) return;
      event.preventDefault();
      angles.turn += step[0];
      angles.tilt = Math.max(-1.5, Math.min(1.5, angles.tilt + step[1]));
      redraw();
    });
  }
}

/**
 * Pictures side by side. `shown`: [name, colour, rows] of each, the first one giving the box; `delay` in rows serves a single
 * channel.
 */
export function attractors(shown, channels, delay) {
  const box = el("div");
  const pair = el("div.pair");
  const angles = { turn: -0.6, tilt: 0.3 };
  const picked = channels.slice(0, 3).map((_, k) => k);
  let views = [];
  let scheduled = false;

  function redraw() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      for (const view of views) view.draw(angles);
    });
  }

  function rebuild() {
    const scalar = channels.length === 1;
    const labels = scalar ? [`${channels[0]}(t − τ), τ = ${delay} steps`, `${channels[0]}(t)`] : picked.map((k) => channels[k]);
    const points = shown.map(([, , rows]) => coordinates(rows, picked, scalar && delay));
    const limits = labels.map((_, k) => extent(points[0].map((p) => p[k])));
    views = shown.map(([name, colour], i) => new View(name, colour, points[i], limits, labels));
    pair.replaceChildren(...views.map((view) => view.figure));
    if (labels.length === 3) turnByHand(views, angles, redraw);
    redraw();
  }

  if (channels.length > 3) box.append(axisPickers(channels, picked, rebuild));
  box.append(pair);
  new ResizeObserver(redraw).observe(pair);
  const recolour = () => (pair.isConnected ? redraw() : document.removeEventListener("themechange", recolour));
  document.addEventListener("themechange", recolour);
  rebuild();
  return box;
}

function axisPickers(channels, picked, rebuild) {
  const row = el("p.inline");
  picked.forEach((chosen, axis) => {
    const options = channels.map((name, k) => el("option", { value: k, selected: k === chosen }, name));
    const select = el("select", { onchange: (event) => { picked[axis] = Number(event.target.value); rebuild(); } }, options);
    row.append(el("label", {}, `Axis ${axis + 1} `, select));
  });
  return row;
}
