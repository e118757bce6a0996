// Figures of results: described by the service, drawn here when they come into sight, and offered as files.
import { get } from "./api.js";
import { el, problemBox } from "./dom.js";
import { downloadLink } from "./download.js";
import { plot } from "./plot.js";

const FORMATS = [["png", "PNG", "png"], ["svg", "SVG", "svg"], ["plotly", "Plotly JSON", "json"]];

/** Calls back once, when the element is about to be seen. */
function whenSeen(element, callback) {
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    callback();
  }, { rootMargin: "400px" });
  observer.observe(element);
}

/** Links to a figure as a file. */
export function figureFiles(path, { name, title, href }) {
  const id = path.split("/").pop();
  return el("p.files.fine", {}, FORMATS.map(([format, label, suffix]) => {
    const link = downloadLink("a", `${href}?format=${format}`, `${id}-${name}.${suffix}`, label);
    link.setAttribute("aria-label", `${title}: ${label}`);
    return link;
  }));
}

/** One figure with its files; read again when the colours change. */
function figureBox(path, figure) {
  const picture = el("div.waiting", { "aria-busy": "true" }, el("p.fine", {}, figure.title));
  const box = el("div.figure", { "data-figure": figure.name }, picture, figureFiles(path, figure));
  async function draw() {
    try {
      const description = await get(`${figure.href}?format=plotly&theme=${window.attractorTheme.current()}`);
      box.firstChild.replaceWith(plot(description));
    } catch (problem) {
      box.firstChild.replaceWith(problemBox(problem));
    }
  }
  let drawn = false;
  whenSeen(box, () => {
    drawn = true;
    draw();
  });
  const again = () => {
    if (!box.isConnected) document.removeEventListener("themechange", again);
    else if (drawn) draw();
  };
  document.addEventListener("themechange", again);
  return box;
}

/** Figures of one result: `of(name)` is its box, or why there is none; `cards(sections)` groups them under headings. */
export async function figuresOf(path) {
  const { data, missing } = await get(`${path}/figures`);
  const known = new Map(data.map((figure) => [figure.name, figure]));
  const lacking = new Map(missing.map((figure) => [figure.name, figure]));
  function of(name) {
    if (known.has(name)) return figureBox(path, known.get(name));
    const lack = lacking.get(name);
    return lack ? el("p.fine", {}, el("strong", {}, `${lack.title}. `), `Not drawn: ${lack.reason}`) : null;
  }
  return { of, all: data };
}
