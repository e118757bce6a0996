// The start of a job on a series: what to do with which channels, and every parameter for who wants it.
import { Problem, get, post } from "./api.js";
import { companionChoice } from "./companions.js";
import { el, problemBox } from "./dom.js";
import { schemaForm } from "./schemaform.js";

const KINDS = {
  reconstruct: ["Reconstruct the system", "Measures the Lyapunov spectrum, tunes the training by it, trains several networks, keeps the best and judges it on held-out data.", "Start reconstruction"],
  lyapunov: ["Only measure how chaotic it is", "Lyapunov spectrum, verdict and predictability; no network is trained.", "Start analysis"],
  train: ["Only train", "Uses the newest analysis of these channels, or makes one first.", "Start training"],
};
const PAUSE = 400; // milliseconds without typing, before the request is checked

export async function startForm(context, series) {
  const [{ kinds }, beside] = await Promise.all([get("/v1/capabilities"), companionChoice(series)]);
  const schemas = Object.fromEntries(kinds.map(({ kind, params_schema: schema }) => [kind, schema]));
  const names = series.profile.channels.map((c) => c.name);
  const outcome = el("div");
  const said = el("p.fine", { role: "status" });
  const about = el("p", {});
  const drawer = el("div");
  const button = el("button.primary", { type: "submit" });
  const radios = Object.keys(KINDS).filter((kind) => schemas[kind]).map((kind, i) => el("input", { type: "radio", name: "kind", value: kind, checked: i === 0 }));
  const form = el(
    "form",
    { novalidate: true },
    el("fieldset", {}, el("legend.visually-hidden", {}, "What to do"), el("div.checks", {}, radios.map((radio) => el("label", {}, radio, ` ${KINDS[radio.value][0]}`)))),
    about,
    names.length > 1 ? channelChecks(names) : null,
    beside.node,
    outcome,
    el("p.inline", {}, button),
    el("details.drawer", {}, el("summary", {}, "Advanced: every parameter"), el("p.fine", {}, "What you leave alone is chosen by the service. Values are checked as you type."), said, drawer),
  );
  let fields = null;
  let timer = null;
  let turn = 0;

  function choose(kind) {
    fields = schemaForm(schemas[kind], { base: "params", channels: names });
    drawer.replaceChildren(fields.node);
    about.textContent = KINDS[kind][1];
    if (beside.node) beside.node.hidden = kind === "lyapunov";
    button.textContent = KINDS[kind][2];
    outcome.replaceChildren();
    said.textContent = "";
  }

  function request() {
    const data = new FormData(form);
    const asked = { kind: data.get("kind"), series_id: series.id, params: fields.value() };
    if (asked.kind !== "lyapunov") Object.assign(asked, beside.value());
    const picked = data.getAll("channels");
    if (names.length > 1 && picked.length < names.length) asked.channels = picked;
    return asked;
  }

  /** What the service says of the request: beside its fields where it has some, else below the channels. */
  function complain(problem) {
    const rest = fields.show(problem.document?.errors ?? []);
    const placed = (problem.document?.errors?.length ?? 0) > rest.length;
    said.textContent = placed ? "Not yet right: see the fields marked below." : "";
    if (placed) form.querySelector("details.drawer").open = true;
    outcome.replaceChildren(...(placed && !rest.length ? [] : [problemBox(placed ? new Problem({ ...problem.document, errors: rest }) : problem)]));
  }

  async function check() {
    const mine = ++turn;
    try {
      await post("/v1/jobs?validate_only=true", request());
      if (mine !== turn) return;
      fields.show([]);
      outcome.replaceChildren();
      said.textContent = "The service would take it like this.";
    } catch (problem) {
      if (mine === turn) complain(problem);
    }
  }

  form.addEventListener("change", (event) => event.target.name === "kind" && choose(event.target.value));
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
  });
  context.onLeave(() => clearTimeout(timer));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearTimeout(timer);
    turn += 1;
    button.disabled = true;
    try {
      context.go((await post("/v1/jobs", request())).id);
    } catch (problem) {
      complain(problem);
      form.querySelector("[aria-invalid]")?.focus();
    } finally {
      button.disabled = false;
    }
  });
  choose(radios[0].value);
  return el("section.card", {}, el("h2", {}, "What shall be found out?"), form);
}

function channelChecks(names) {
  const boxes = names.map((name) => el("label", {}, el("input", { type: "checkbox", name: "channels", value: name, checked: true }), ` ${name}`));
  return el("fieldset", {}, el("legend", {}, "Channels"), el("div.checks", { tabindex: names.length > 20 ? "0" : null }, boxes));
}
