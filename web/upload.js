// The first page: choose a file, look into it, say how it was sampled, upload it; or try a sample.
import { get, uploadSeries } from "./api.js";
import { el, field, problemBox } from "./dom.js";
import { badRows, previewOf } from "./preview.js";
import { samplesCard } from "./samples.js";
import { schemaForm } from "./schemaform.js";

const MISSING = [
  ["reject", "refuse the file"],
  ["interpolate", "fill short gaps by interpolation"],
  ["split", "split the series at gaps"],
];
const ASKED = ["name", "dt", "time_unit", "missing", "max_gap"]; // by this page itself; the rest comes from the service's schema

export function homeView(context) {
  const outcome = el("div");
  const look = el("div");
  const chosen = el("strong", {}, "Drop a file here, or choose one");
  const file = el("input", { type: "file", name: "file", multiple: true, accept: ".csv,.tsv,.txt,.npy,.parquet,.json", onchange: () => choose([...file.files]) });
  const drop = el("label.drop", {}, file, chosen, el("span.fine", {}, "CSV, NPY, Parquet or JSON: one row per time step, one column per channel. Several files: recordings of one system."));
  const button = el("button.primary", { type: "submit", disabled: true }, "Upload and check");
  let picked = [];
  let more = null;

  async function choose(files) {
    if (!files.length) return;
    picked = files;
    chosen.textContent = files.map((one) => `${one.name} (${size(one.size)})`).join(", ");
    button.disabled = false;
    outcome.replaceChildren();
    const shown = await previewOf(files[0]);
    if (picked === files) look.replaceChildren(shown);
  }

  for (const [name, on] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", on);
      if (name === "drop") choose([...event.dataTransfer.files]);
    });
  }

  const form = el("form", {}, drop, look, samplingFields(), moreFields((fields) => (more = fields)), button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const fields = Object.fromEntries([...new FormData(form)].filter(([name]) => ASKED.includes(name)));
    const others = Object.entries(more?.value() ?? {}).map(([name, value]) => [name, Array.isArray(value) ? JSON.stringify(value) : String(value)]);
    const named = fields.name || (picked.length === 1 ? picked[0].name : `${picked[0].name} and ${picked.length - 1} more`);
    await send(picked, { ...fields, ...Object.fromEntries(others), name: named });
  });

  async function send(files, fields) {
    const bar = el("progress", { max: "1", value: "0", "aria-label": "Upload" });
    outcome.replaceChildren(el("p", {}, "Uploading and checking …"), bar);
    button.disabled = true;
    try {
      const { series, duplicate } = await uploadSeries(files, fields, (fraction) => (bar.value = fraction));
      context.announce(duplicate ? "This series was here already." : "The series is stored.");
      context.go(series.id);
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
      const where = await badRows(files, problem);
      if (where) outcome.append(where);
      if (problem.document?.code === "non_finite_values") outcome.append(remedies());
      outcome.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = picked.length === 0;
    }
  }

  /** What can be done about missing values, one click away. */
  function remedies() {
    const again = (policy) => () => {
      form.elements.missing.value = policy;
      form.elements.missing.dispatchEvent(new Event("change"));
      form.requestSubmit();
    };
    return el("p.inline", {}, MISSING.slice(1).map(([policy, text]) => el("button", { type: "button", onclick: again(policy) }, text[0].toUpperCase() + text.slice(1))));
  }

  return el(
    "div",
    {},
    el("h1", {}, "What system made this series?"),
    el("p.lead", {}, "Upload measurements. You get their Lyapunov spectrum, a recurrent network that reconstructs the dynamics behind them, and forecasts that say how far they can be trusted."),
    el("section.card", {}, form, outcome),
    samplesCard(context),
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

/** The other fields of an upload, read from the service when somebody looks. */
function moreFields(onFields) {
  const box = el("div");
  const drawer = el("details", {}, el("summary", {}, "More about the file"), box);
  drawer.addEventListener("toggle", async () => {
    if (!drawer.open || box.childNodes.length) return;
    try {
      const fields = schemaForm((await get("/v1/capabilities")).upload_schema, { skip: ASKED });
      box.replaceChildren(fields.node);
      onFields(fields);
    } catch (problem) {
      box.replaceChildren(problemBox(problem));
    }
  });
  return drawer;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${units[power]}`;
}
