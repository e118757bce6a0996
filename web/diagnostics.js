// What lets a scientist judge an analysis: methods side by side, divergence of neighbours, recurrences, sampling.
import { el, interval, num, table, withUnit } from "./dom.js";
import { lineChart } from "./charts.js";

const NAMES = {
  "fitted-model": "Smooth model, fitted",
  "neighbor-divergence": "Divergence of neighbours",
  "local-jacobians": "Local-linear Jacobians",
};

/** Nothing for an analysis that is older than these figures. */
export function diagnosticsCard(analysis) {
  const { methods, diagnostics, correlation_dimension: dimension, lambda_max: top, predictability } = analysis;
  if (!methods?.length) return null;
  const figures = [divergenceFigure(diagnostics.divergence, predictability.unit), recurrenceFigure(diagnostics.recurrence_plot, predictability.unit)];
  return el(
    "section.card",
    {},
    el("h2", {}, "How sure is it?"),
    table(["Method", `λ₁ in ${top.unit}`, "Interval", "Apart", "Why"], methods.map(methodRow), "Largest exponent by every method"),
    el("p.fine", {}, "Apart: from the trusted method, in standard errors of the difference."),
    diagnostics.sampling.advice ? el("p", {}, el("strong", {}, "Sampling. "), diagnostics.sampling.advice) : null,
    el("p", {}, el("strong", {}, "Correlation dimension. "), dimension.value === null ? dimension.reason : `${num(dimension.value)}, ${interval(dimension.ci, dimension.level)}`),
    el("div.pair", {}, figures),
  );
}

function methodRow({ method, lambda_max: found, trusted, distance, why }) {
  return [`${NAMES[method] ?? method}${trusted ? " (trusted)" : ""}`, num(found.value), interval(found.ci), num(distance, 2), why];
}

function divergenceFigure(divergence, unit) {
  if (!divergence) return null;
  const { steps, mean_log_distance: y, dt, slope, fit_first_step: first, fit_last_step: last } = divergence;
  const x = steps.map((s) => s * dt);
  const fitted = steps.map((s, i) => i).filter((i) => steps[i] >= first && steps[i] <= last);
  const level = fitted.reduce((sum, i) => sum + y[i] - slope * x[i], 0) / fitted.length;
  return el(
    "figure",
    {},
    lineChart({
      lines: [{ x, y, kind: "data" }, { x: fitted.map((i) => x[i]), y: fitted.map((i) => level + slope * x[i]), kind: "model" }],
      xLabel: unit ? `time in ${unit}` : "time", yLabel: "mean ln distance", height: 260, label: "Divergence of neighbouring states over time, with the fitted region",
    }),
    el("figcaption", {}, "Neighbours part: the slope of the straight region is λ₁. Noise makes them part, too."),
  );
}

/** Rows of digits, row i holding columns 0 to i of a symmetric matrix: each the number of recurrent pairs in a square. */
function recurrenceFigure(plot, unit) {
  if (!plot) return null;
  const { counts, bin_states: bin, determinism, mean_line_time: line, states, time_between_states: dt, recurrence_rate: rate } = plot;
  const n = counts.length;
  const canvas = el("canvas.recurrence", { role: "img", "aria-label": `Recurrence plot: ${num(100 * determinism)} % of the recurrent pairs lie on diagonal lines` });
  const draw = () => {
    const pixels = Math.max(1, Math.floor((canvas.clientWidth * (window.devicePixelRatio || 1)) / n));
    canvas.width = canvas.height = n * pixels;
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--data").trim();
    counts.forEach((row, i) => {
      for (let j = 0; j <= i; j++) {
        if (row[j] === "0") continue;
        context.globalAlpha = Math.min(1, 0.25 + Number(row[j]) / bin);
        context.fillRect(j * pixels, (n - 1 - i) * pixels, pixels, pixels);
        context.fillRect(i * pixels, (n - 1 - j) * pixels, pixels, pixels);
      }
    });
  };
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  const span = withUnit(states * dt, unit);
  return el(
    "figure",
    {},
    canvas,
    el("figcaption", {}, `Recurrences over ${span}, both axes time: a dot where the states at two times are among the nearest ${num(100 * rate)} %. ${num(100 * determinism)} % lie on diagonals, of ${withUnit(line, unit)} on average.`),
  );
}
