// The key of this tab: asked for where the service demands one, kept until the tab is closed, sent as a header only.
import { el } from "./dom.js";

const NAME = "attractor-key";
const listeners = [];
let asking = null;
let declined = false; // once is enough for all requests of a view

export const signedIn = () => sessionStorage.getItem(NAME) !== null;

/** Calls back now, and whenever a key was given or forgotten. */
export function onSession(callback) {
  listeners.push(callback);
  callback(signedIn());
}

function keep(key) {
  if (key === null) sessionStorage.removeItem(NAME);
  else sessionStorage.setItem(NAME, key);
  for (const callback of listeners) callback(key !== null);
}

export const signOut = () => keep(null);

/** The header that every request carries; none without a key. */
export function credentials(key = sessionStorage.getItem(NAME)) {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

/** fetch with the key of this tab; where it is missing or no longer valid, a person is asked, and the request sent again. */
export async function authorizedFetch(path, options = {}) {
  let reason = "";
  for (;;) {
    const key = sessionStorage.getItem(NAME);
    const response = await fetch(path, { ...options, headers: { ...options.headers, ...credentials(key) } });
    if (response.status !== 401) return response;
    if (key !== sessionStorage.getItem(NAME)) continue; // another request has asked meanwhile
    if (key !== null) {
      reason = await detailOf(response.clone());
      keep(null); // perhaps no key is demanded any more
    } else if (!(await ask(reason))) return response;
  }
}

/** Whether a person gave a valid key. One dialog for all requests that wait for it, and none for those of a view that come later. */
function ask(reason) {
  if (declined) return false;
  asking ??= dialog(reason).then((given) => {
    asking = null;
    declined = !given;
    return given;
  });
  return asking;
}

/** A new view may ask again. */
export const askAgain = () => (declined = false);

function dialog(reason) {
  const input = el("input", { type: "password", name: "key", required: true, autocomplete: "off", spellcheck: "false", placeholder: "atr_…" });
  const problem = el("p.problem", { role: "alert", hidden: !reason }, reason);
  const submit = el("button.primary", { type: "submit" }, "Sign in");
  const cancel = el("button", { type: "button" }, "Cancel");
  const form = el(
    "form",
    {},
    el("h2", { id: "sign-in" }, "This service needs a key"),
    el("p", {}, "Whoever runs it makes one with ", el("code", {}, "attractor keys create"), ". It stays in this tab until you close it or sign out."),
    problem,
    el("label.field", {}, el("span", {}, "Key"), input),
    el("p.inline", {}, submit, cancel),
  );
  const box = el("dialog.card", { "aria-labelledby": "sign-in" }, form);
  document.body.append(box);
  return new Promise((resolve) => {
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      const refusal = await refusalOf(input.value.trim());
      submit.disabled = false;
      problem.hidden = refusal === "";
      problem.textContent = refusal;
      if (refusal === "") {
        keep(input.value.trim());
        box.close("given");
      } else input.select();
    });
    cancel.addEventListener("click", () => box.close(""));
    box.addEventListener("close", () => {
      box.remove();
      resolve(box.returnValue === "given");
    });
    box.showModal();
  });
}

/** Why the service does not take a key; empty when it does. */
async function refusalOf(key) {
  try {
    const response = await fetch("/v1/me", { headers: credentials(key) });
    return response.ok ? "" : await detailOf(response);
  } catch {
    return "The service cannot be reached, or the text holds characters that no key has.";
  }
}

async function detailOf(response) {
  try {
    return (await response.json()).detail;
  } catch {
    return `The service answered ${response.status}.`; // a proxy in between may answer in its own words
  }
}
