// Lists of series, jobs and models, newest first.
import { get } from "./api.js";
import { el, num, problemBox, table, when, withUnit } from "./dom.js";

const LISTS = {
  series: {
    title: "Series",
    path: "/v1/series",
    head: ["Name", "Steps", "Channels", "Every", "Uploaded"],
    row: (s) => [link(s.id, s.name), num(s.profile.n_steps), num(s.profile.n_channels), withUnit(s.dt, s.time_unit), when(s.created_at)],
    empty: "No series yet.",
  },
  jobs: {
    title: "Jobs",
    path: "/v1/jobs",
    head: ["Job", "Status", "Progress", "Created"],
    row: (j) => [link(j.id, `${j.kind} ${j.id.slice(-6)}`), el(`span.badge.${j.status}`, {}, j.status), `${Math.round(j.progress.fraction * 100)} % ${j.progress.phase}`, when(j.created_at)],
    empty: "No jobs yet.",
  },
  models: {
    title: "Models",
    path: "/v1/models",
    head: ["Model", "Reconstruction", "d_stsp", "d_h", "Parameters", "Made"],
    row: (m) => [link(m.id, `${m.architecture} ${m.id.slice(-6)}`), el(`span.badge.${m.report.verdict}`, {}, m.report.verdict), num(m.report.d_stsp.value), num(m.report.d_h.value), num(m.n_parameters), when(m.created_at)],
    empty: "No models yet.",
  },
};

function link(id, name) {
  return el("a", { href: `#${id}` }, name || id);
}

export async function listView(context, name) {
  const list = LISTS[name];
  const rows = [];
  const body = el("div");
  const more = el("button", { type: "button", onclick: load }, "Show more");
  let cursor = null;

  async function load() {
    more.disabled = true;
    try {
      const page = await get(`${list.path}?limit=25${cursor ? `&cursor=${cursor}` : ""}`);
      rows.push(...page.data.map(list.row));
      cursor = page.next_cursor;
      body.replaceChildren(rows.length ? table(list.head, rows, "Newest first") : el("p", {}, list.empty, " ", el("a", { href: "#" }, "Upload a series")));
    } catch (problem) {
      body.replaceChildren(problemBox(problem));
    }
    more.disabled = false;
    more.hidden = cursor === null;
  }

  await load();
  return el("div", {}, el("h1", {}, list.title), el("section.card", {}, body, more));
}
