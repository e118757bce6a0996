// The page: the part of the address behind "#" says what is shown (a list or the id of a resource), so every view survives a reload.
import { el, problemBox } from "./dom.js";
import { homeView } from "./upload.js";
import { seriesView } from "./series.js";
import { jobView } from "./job.js";
import { analysisView, modelView } from "./result.js";
import { forecastView } from "./forecast.js";
import { evaluationView } from "./evaluation.js";
import { listView } from "./lists.js";
import { onSession, signOut } from "./session.js";

const BY_PREFIX = {
  ser: seriesView, job: jobView, ana: analysisView, mdl: modelView, fct: forecastView, evl: evaluationView,
};
const LISTS = ["series", "jobs", "models"];

const main = document.getElementById("main");
const announcer = document.getElementById("announcer");
let leave = [];
let shown = 0;

function viewOf(hash) {
  if (hash === "") return homeView;
  if (LISTS.includes(hash)) return (context) => listView(context, hash);
  const view = BY_PREFIX[hash.split("_")[0]];
  return view ? (context) => view(context, hash) : null;
}

async function show() {
  const hash = location.hash.slice(1);
  if (hash === "main") return; // the skip link
  const turn = ++shown;
  leave.forEach((stop) => stop());
  leave = [];
  const context = {
    go: (target) => (location.hash = target),
    announce: (text) => (announcer.textContent = text),
    onLeave: (stop) => leave.push(stop),
  };
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${hash}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let content;
  try {
    const view = viewOf(hash);
    content = view ? await view(context) : el("div", {}, el("h1", {}, "Nothing here"), el("p", {}, "The address names no series, job or model."));
  } catch (problem) {
    content = problemBox(problem);
  }
  if (turn !== shown) return; // another view was chosen meanwhile
  main.replaceChildren(content);
  document.title = `${main.querySelector("h1")?.textContent ?? "attractor"} · attractor`;
  window.scrollTo(0, 0);
  if (turn > 1) main.focus({ preventScroll: true });
}

const signOutButton = document.getElementById("sign-out");
onSession((signedIn) => (signOutButton.hidden = !signedIn));
signOutButton.addEventListener("click", () => {
  signOut();
  show(); // what was on the page is not for whoever comes next
});

window.addEventListener("hashchange", show);
show();
