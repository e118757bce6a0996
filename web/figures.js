// Figures of results as files, for papers and notebooks: drawn by the service, listed when somebody looks.
import { get } from "./api.js";
import { el, problemBox, table } from "./dom.js";
import { downloadLink } from "./download.js";

const FORMATS = [["png", "PNG", "png"], ["svg", "SVG", "svg"], ["plotly", "Plotly JSON", "json"]];

/** A closed drawer with every figure of these results; `results` are [what it is, path] pairs. */
export function figuresDrawer(results) {
  const lists = el("div");
  const drawer = el("details", {}, el("summary", {}, "Figures for papers and notebooks (PNG, SVG, Plotly JSON)"), lists);
  drawer.addEventListener("toggle", async () => {
    if (!drawer.open || lists.childNodes.length) return;
    try {
      lists.replaceChildren(...(await Promise.all(results.map(listOf))));
    } catch (problem) {
      lists.replaceChildren(problemBox(problem));
    }
  });
  return drawer;
}

async function listOf([what, path]) {
  const { data } = await get(`${path}/figures`);
  const id = path.split("/").pop();
  const rows = data.map(({ name, title, shows, href }) => [title, shows, el("span.inline", {}, FORMATS.map(([format, label, suffix]) => {
    const link = downloadLink("a", `${href}?format=${format}`, `${id}-${name}.${suffix}`, label);
    link.setAttribute("aria-label", `${title}: ${label}`);
    return link;
  }))]);
  return table(["Figure", "What it shows", "Download"], rows, what);
}
