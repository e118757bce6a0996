// A model that comes from a file: weights, and the card that says what was measured of them.
import { Problem } from "./api.js";
import { el, field, problemBox } from "./dom.js";
import { authorizedFetch } from "./session.js";

export function importDrawer(context) {
  const outcome = el("div");
  const button = el("button", { type: "submit" }, "Import");
  const form = el(
    "form",
    {},
    el("div.fields", {},
      field("Weights", el("input", { type: "file", name: "file", required: true, accept: ".safetensors" }), "model.safetensors"),
      field("Card, if there is one", el("input", { type: "file", name: "card", accept: ".json" }), "model.json: what training and measures were")),
    button,
    outcome,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const body = new FormData();
      for (const [name, file] of new FormData(form)) if (file.size) body.append(name, file, file.name);
      const response = await authorizedFetch("/v1/models", { method: "POST", body, headers: { Accept: "application/json" } });
      const document = await response.json();
      if (!response.ok) throw new Problem(document);
      context.go(document.id);
    } catch (problem) {
      outcome.replaceChildren(problemBox(problem));
    }
    button.disabled = false;
  });
  return el("details", {}, el("summary", {}, "Import a model from a file"), form);
}
