// Building the page and writing numbers. Text goes in as text nodes only, never as HTML.

/** el("p.note", {title: "..."}, "text", child): an element with classes, attributes and children. */
export function el(spec, attributes = {}, ...children) {
  const [tag, ...classes] = spec.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const SUPERSCRIPT = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** A number for reading: at most `digits` significant digits, a true minus, powers of ten as such. */
export function num(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) {
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const power = String(Number(exponent)).replace(/./g, (c) => SUPERSCRIPT[c]);
    return `${Number(mantissa)} × 10${power}`.replace("-", "−");
  }
  const rounded = Number.isInteger(value) || size >= 10 ** digits ? Math.round(value) : Number(value.toPrecision(digits));
  return rounded.toLocaleString("en", { maximumFractionDigits: 20 }).replace("-", "−");
}

/** A value with its unit; dimensionless units stay away, steps are counted in the plural. */
export function withUnit(value, unit, digits = 3) {
  if (value === null || value === undefined || !unit || unit === "1") return num(value, digits);
  return `${num(value, digits)} ${unit === "step" && value !== 1 ? "steps" : unit}`;
}

/** [low, high] as text, with as many digits as tell them apart; or an empty string. */
export function interval(ci, level) {
  if (!ci) return "";
  let digits = 3;
  while (digits < 8 && num(ci[0], digits) === num(ci[1], digits)) digits += 1;
  return `${num(ci[0], digits)} … ${num(ci[1], digits)}${level ? ` (${Math.round(level * 100)} %)` : ""}`;
}

/** How many: every digit, in groups of three. */
export const count = (n) => (n === null || n === undefined ? "–" : n.toLocaleString("en"));

export function plural(n, word) {
  return `${count(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** Seconds as "8 s", "2 min 5 s", "1 h 4 min". */
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

export function when(instant) {
  return new Date(instant).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** A labelled form field with an optional hint. */
export function field(title, control, hint) {
  return el("label.field", {}, el("span", {}, title), control, hint ? el("small", {}, hint) : null);
}

/**
 * A table in a box of its own that scrolls sideways; on a phone the rows of one with many columns become cards. `quiet`: what
 * stands above says already what it is.
 */
export function table(head, rows, caption, quiet = false) {
  const titles = head.map((title) => (typeof title === "string" ? title : title.textContent));
  const stacked = head.length > 3;
  return el(
    "div.scroll",
    { tabindex: "0", role: "region", "aria-label": caption },
    el(
      stacked ? "table.stacked" : "table",
      { role: "table" }, // said once more, since a style sheet that stacks rows takes it away
      el(quiet ? "caption.visually-hidden" : "caption", {}, caption),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head.map((text) => el("th", { scope: "col", role: "columnheader" }, text)))),
      el("tbody", { role: "rowgroup" }, rows.map((cells) => el("tr", { role: "row" }, cells.map((cell, k) => el("td", { role: "cell", "data-title": titles[k] }, cell))))),
    ),
  );
}

/** A refusal of the service, with the fields and rows it names. */
export function problemBox(problem) {
  const document = problem.document ?? { title: "The page made a mistake", detail: String(problem) };
  const places = (document.errors ?? []).map((item) =>
    el(
      "li",
      {},
      item.pointer ? el("code", {}, item.pointer) : null,
      item.detail ? ` ${item.detail}` : null,
      item.rows?.length ? el("span.rows", {}, ` rows ${item.rows.join(", ")}`) : null,
    ),
  );
  return el(
    "div.problem",
    { role: "alert" },
    el("strong", {}, document.title),
    document.detail ? el("p", {}, document.detail) : null,
    places.length ? el("ul", {}, places) : null,
    document.request_id ? el("p.fine", {}, `Request ${document.request_id}`) : null,
  );
}

/** The channel that a JSON pointer into the columns names; null for any other. */
export function columnOf(pointer) {
  const name = /^\/columns\/(.*)$/.exec(pointer ?? "")?.[1];
  return name === undefined ? null : name.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Warnings of a result. */
export function warningList(warnings) {
  if (!warnings?.length) return null;
  return el("ul.warnings", {}, warnings.map((w) => el("li", {}, el("code", {}, w.code), " ", w.detail)));
}
