// The page: the part of the address behind "#" says what is shown (a list, or the id of a resource and a part of it), so every
// view survives a reload.
import { el, problemBox } from "./dom.js";
import { homeView } from "./upload.js";
import { seriesView } from "./series.js";
import { jobView } from "./job.js";
import { analysisView } from "./analysis.js";
import { modelView } from "./model.js";
import { forecastView } from "./forecast.js";
import { evaluationView } from "./evaluation.js";
import { compareView } from "./compare.js";
import { LISTS, listView } from "./lists.js";
import { askAgain, onSession, signOut } from "./session.js";

const BY_PREFIX = {
  ser: seriesView, job: jobView, ana: analysisView, mdl: modelView, fct: forecastView, evl: evaluationView,
};

const main = document.getElementById("main");
const announcer = document.getElementById("announcer");
let leave = [];
let shown = 0;

/** The view of an address: "", "jobs?status=failed", "compare/mdl_...,mdl_...", "mdl_.../forecast". */
function viewOf(address) {
  const [path, query = ""] = address.split("?");
  const [name, part = ""] = path.split("/");
  if (path === "") return homeView;
  if (name in LISTS) return (context) => listView(context, name, new URLSearchParams(query));
  if (name === "compare") return (context) => compareView(context, part.split(",").filter(Boolean));
  const view = BY_PREFIX[name.split("_")[0]];
  return view ? (context) => view(context, name, part) : null;
}

async function show() {
  const hash = location.hash.slice(1);
  if (hash === "main") return; // the skip link
  const turn = ++shown;
  leave.forEach((stop) => stop());
  leave = [];
  askAgain();
  const context = {
    go: (target) => (location.hash = target),
    announce: (text) => (announcer.textContent = text),
    onLeave: (stop) => leave.push(stop),
  };
  for (const link of document.querySelectorAll("header nav a")) {
    if (link.getAttribute("href") === `#${hash.split("?")[0]}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let content;
  try {
    const view = viewOf(hash);
    content = view ? await view(context) : el("div", {}, el("h1", {}, "Nothing here"), el("p", {}, "The address names no series, job or model."));
  } catch (problem) {
    content = el("div", {}, el("h1", {}, "Not shown"), problemBox(problem));
  }
  if (turn !== shown) return; // another view was chosen meanwhile
  main.replaceChildren(content);
  document.title = `${main.querySelector("h1")?.textContent ?? "attractor"} · attractor`;
  performance.mark("view-shown");
  const samePlace = turn > 1 && before.split("/")[0] === hash.split("/")[0] && hash !== before;
  if (samePlace) main.querySelector("nav.tabs a[aria-current]")?.focus({ preventScroll: true });
  else window.scrollTo(0, 0);
  if (turn > 1 && !samePlace) main.focus({ preventScroll: true });
  before = hash;
}

let before = "";
const signOutButton = document.getElementById("sign-out");
onSession((signedIn) => (signOutButton.hidden = !signedIn));
signOutButton.addEventListener("click", () => {
  signOut();
  show(); // what was on the page is not for whoever comes next
});

const themeButton = document.getElementById("theme");
const nameTheme = () => {
  const next = window.attractorTheme.current() === "dark" ? "light" : "dark";
  themeButton.textContent = next === "dark" ? "☾" : "☀";
  themeButton.setAttribute("aria-label", `Switch to ${next} colours`);
  themeButton.title = `Switch to ${next} colours`;
};
nameTheme();
document.addEventListener("themechange", nameTheme);
themeButton.addEventListener("click", () => window.attractorTheme.toggle());

window.addEventListener("hashchange", show);
show();
