// Lists of series, jobs and models, newest first; jobs by state and kind, models to be compared.
import { get } from "./api.js";
import { count, el, num, problemBox, table, when, withUnit } from "./dom.js";
import { importDrawer } from "./importing.js";

const STATUSES = ["queued", "running", "pausing", "paused", "canceling", "succeeded", "failed", "canceled"];
const KINDS = ["reconstruct", "lyapunov", "train", "evaluate", "forecast"];

export const LISTS = {
  series: {
    title: "Series",
    path: "/v1/series",
    head: ["Name", "Steps", "Channels", "Every", "Uploaded"],
    row: (s) => [link(s.id, s.name), count(s.profile.n_steps), num(s.profile.n_channels), withUnit(s.dt, s.time_unit), when(s.created_at)],
    empty: "No series yet.",
  },
  jobs: {
    title: "Jobs",
    path: "/v1/jobs",
    filters: { status: ["State", STATUSES], kind: ["Kind", KINDS] },
    head: ["Job", "State", "Progress", "Created"],
    row: (j) => [link(j.id, `${j.kind} ${j.id.slice(-6)}`), el(`span.badge.${j.status}`, {}, j.status), `${Math.round(j.progress.fraction * 100)} % ${j.progress.phase}`, when(j.created_at)],
    empty: "No jobs yet.",
  },
  models: {
    title: "Models",
    path: "/v1/models",
    head: ["Compare", "Model", "Reconstruction", "d_stsp", "d_h", "Parameters", "Made"],
    row: (m) => [tick(m), link(m.id, `${m.architecture} ${m.id.slice(-6)}`), el(`span.badge.${m.report.verdict}`, {}, m.report.verdict), num(m.report.d_stsp.value), num(m.report.d_h.value), count(m.n_parameters), when(m.created_at)],
    empty: "No models yet.",
  },
};

function link(id, name) {
  return el("a", { href: `#${id}` }, name || id);
}

function tick(model) {
  return el("input", { type: "checkbox", name: "compare", value: model.id, "aria-label": `Compare ${model.architecture} ${model.id.slice(-6)}` });
}

/** Selects whose choice is part of the address, so that a filtered list survives a reload. */
function filterBar(name, filters, chosen) {
  const bar = el("form.inline", { "aria-label": `Filter ${name}` });
  for (const [key, [title, values]] of Object.entries(filters)) {
    const options = [el("option", { value: "" }, "all"), ...values.map((v) => el("option", { value: v, selected: chosen.get(key) === v }, v))];
    bar.append(el("label", {}, `${title} `, el("select", { name: key }, options)));
  }
  bar.addEventListener("change", () => {
    const query = new URLSearchParams([...new FormData(bar)].filter(([, value]) => value));
    location.hash = query.size ? `${name}?${query}` : name;
  });
  return bar;
}

/** A button that opens the comparison of the ticked models. */
function compareBar(context, body) {
  const button = el("button", { type: "button", disabled: true }, "Compare the ticked models");
  const ticked = () => [...body.querySelectorAll("input[name=compare]:checked")].map((box) => box.value);
  body.addEventListener("change", () => (button.disabled = ticked().length < 2));
  button.addEventListener("click", () => context.go(`compare/${ticked().join(",")}`));
  return el("p.inline", {}, button, el("span.fine", {}, "Two or more: settings that differ, measures, attractors."));
}

export async function listView(context, name, chosen) {
  const list = LISTS[name];
  const filter = [...chosen].filter(([key]) => list.filters && key in list.filters);
  const rows = [];
  const body = el("div");
  const more = el("button", { type: "button", onclick: load }, "Show more");
  let cursor = null;

  async function load() {
    more.disabled = true;
    try {
      const query = new URLSearchParams([["limit", 25], ...filter, ...(cursor ? [["cursor", cursor]] : [])]);
      const page = await get(`${list.path}?${query}`);
      rows.push(...page.data.map(list.row));
      cursor = page.next_cursor;
      const nothing = filter.length ? el("p", {}, `No ${name} like that.`) : el("p", {}, list.empty, " ", el("a", { href: "#" }, "Upload a series"));
      body.replaceChildren(rows.length ? table(list.head, rows, "Newest first") : nothing);
    } catch (problem) {
      body.replaceChildren(problemBox(problem));
    }
    more.disabled = false;
    more.hidden = cursor === null;
  }

  await load();
  const compare = name === "models" && rows.length > 1 ? compareBar(context, body) : null;
  return el("div", {}, el("h1", {}, list.title), el("section.card", {}, list.filters ? filterBar(name, list.filters, chosen) : null, compare, body, more, name === "models" ? importDrawer(context) : null));
}
