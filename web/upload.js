// The first page: choose a file, say how it was sampled, upload it.
import { uploadSeries } from "./api.js";
import { el, field, problemBox } from "./dom.js";
import { lorenzSample } from "./sample.js";

const MISSING = [
  ["reject", "refuse the file"],
  ["interpolate", "fill short gaps by interpolation"],
  ["split", "split the series at gaps"],
];

export function homeView(context) {
  const outcome = el("div");
  const chosen = el("strong", {}, "Drop a file here, or choose one");
  const file = el("input", { type: "file", name: "file", accept: ".csv,.tsv,.txt,.npy,.parquet,.json", onchange: () => choose(file.files[0]) });
  const drop = el("label.drop", {}, file, chosen, el("span.fine", {}, "CSV, NPY, Parquet or JSON: one row per time step, one column per channel"));
  const button = el("button.primary", { type: "submit", disabled: true }, "Upload and check");
  let picked = null;

  function choose(one) {
    if (!one) return;
    picked = one;
    chosen.textContent = `${one.name} (${size(one.size)})`;
    button.disabled = false;
    outcome.replaceChildren();
  }

  for (const [name, on] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", on);
      if (name === "drop") choose(event.dataTransfer.files[0]);
    });
  }

  const form = el("form", {}, drop, samplingFields(), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "file"));
    await send(picked, { ...fields, name: fields.name || picked.name });
  });

  async function send(one, fields) {
    const bar = el("progress", { max: "1", value: "0", "aria-label": "Upload" });
    outcome.replaceChildren(el("p", {}, "Uploading and checking …"), bar);
    button.disabled = true;
    try {
      const { series, duplicate } = await uploadSeries(one, fields, (fraction) => (bar.value = fraction));
      context.announce(duplicate ? "This series was here already." : "The series is stored.");
      context.go(series.id);
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
    } finally {
      button.disabled = picked === null;
    }
  }

  const sample = el("button", { type: "button", onclick: () => send(...lorenzSample()) }, "Use a sample instead");
  return el(
    "div",
    {},
    el("h1", {}, "What system made this series?"),
    el("p.lead", {}, "Upload measurements. You get their Lyapunov spectrum, a recurrent network that reconstructs the dynamics behind them, and forecasts that say how far they can be trusted."),
    el("section.card", {}, form, outcome),
    el("p.fine", {}, "No data at hand? ", sample, " The Lorenz system, 10,000 steps with 5 % observation noise, made in this page."),
  );
}

function samplingFields() {
  const gap = field("Longest gap to fill", el("input", { name: "max_gap", type: "number", min: "1", max: "10000", placeholder: "5", disabled: true }), "in steps");
  const missing = el("select", { name: "missing", onchange: () => (gap.querySelector("input").disabled = missing.value !== "interpolate") },
    MISSING.map(([value, text]) => el("option", { value }, text)));
  return el(
    "div.fields",
    {},
    field("Time between steps", el("input", { name: "dt", inputmode: "decimal", placeholder: "read from the file" }), "empty: from a time column, else 1"),
    field("Unit of time", el("input", { name: "time_unit", maxlength: "20", placeholder: "s" }), "such as s, ms, day"),
    field("Missing values", missing),
    gap,
    field("Name", el("input", { name: "name", maxlength: "200", placeholder: "the file's name" })),
  );
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}
