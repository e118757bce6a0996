// Systems whose dynamics are known, one click away, for who brings no data.
import { get, post } from "./api.js";
import { count, el, num, problemBox } from "./dom.js";
import { credentials } from "./session.js";

const KIND = { flow: "flow", map: "map", dde: "delay equation" };

/** A gallery that fills itself; a service that demands a key is asked only when somebody wants to see it. */
export function samplesCard(context) {
  const box = el("div", { "aria-live": "polite" });
  const card = el("section.card", {}, el("h2", {}, "No data at hand?"), el("p", {}, "Try a system whose dynamics are known, and compare what is found with what the books say."), box);

  function show({ data }) {
    box.replaceChildren(el("ul.gallery", {}, data.map((sample) => el("li", {}, tile(sample)))));
  }

  function tile(sample) {
    const { name, title, kind, channels, equations, expect, defaults, known } = sample;
    const button = el("button.primary.small", { type: "button", "aria-label": `Try it: ${title}`, onclick: () => make(name, button) }, "Try it");
    return el(
      "article",
      {},
      el("h3", {}, title),
      el("p.fine", {}, `${KIND[kind] ?? kind}, ${channels.length === 1 ? "one channel" : `${channels.length} channels`}, ${count(defaults.steps)} steps, ${num(100 * defaults.noise)} % noise`),
      el("p", {}, expect),
      el("details", {}, el("summary", {}, "Equations"), equations.map((line) => el("p", {}, el("code", {}, line))), el("p.fine", {}, `λ₁ = ${num(known.exponents[0])} ${known.unit}: ${known.source}`)),
      button,
    );
  }

  async function make(name, button) {
    button.disabled = true;
    try {
      const series = await post(`/v1/samples/${name}`, {});
      context.announce("The series is stored.");
      context.go(series.id);
    } catch (problem) {
      box.append(problemBox(problem));
    }
    button.disabled = false;
  }

  async function load() {
    try {
      const response = await fetch("/v1/samples", { headers: credentials() });
      if (response.ok) return show(await response.json());
    } catch {
      // Asked again by the button below, which says what is wrong.
    }
    const ask = async () => show(await get("/v1/samples"));
    return box.replaceChildren(el("button", { type: "button", onclick: () => ask().catch((problem) => box.append(problemBox(problem))) }, "Show the samples"));
  }

  load();
  return card;
}
