// Parts of one result under addresses of their own: "#mdl_.../forecast" survives a reload and can be sent to a colleague.
import { el } from "./dom.js";

/** Links to the parts; `parts` are [name, title] pairs, the first one without a name of its own in the address. */
export function tabs(id, parts, chosen) {
  return el(
    "nav.tabs",
    { "aria-label": "Parts of this result" },
    parts.map(([name, title], i) =>
      el("a", { href: i ? `#${id}/${name}` : `#${id}`, "aria-current": name === chosen ? "page" : null }, title),
    ),
  );
}
