// Links to files. A browser's own download cannot send the key, so with one the page fetches the file and hands it over.
import { el } from "./dom.js";
import { authorizedFetch, signedIn } from "./session.js";

export function downloadLink(spec, href, name, text) {
  const link = el(spec, { href, download: name }, text);
  link.addEventListener("click", async (event) => {
    if (!signedIn()) return; // the browser can do it alone, however large the file is
    event.preventDefault();
    link.setAttribute("aria-busy", "true");
    try {
      await save(href, name);
      link.removeAttribute("title");
      link.textContent = text;
    } catch (error) {
      link.title = error.message;
      link.textContent = `${text}: failed, try again`;
    }
    link.removeAttribute("aria-busy");
  });
  return link;
}

async function save(href, name) {
  const response = await authorizedFetch(href);
  if (!response.ok) throw new Error(`The service answered ${response.status}.`);
  const address = URL.createObjectURL(await response.blob());
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000); // by then the browser has taken it
}
