// A look into a file before it is sent: its first rows and curves, and after a refusal the rows that are wrong, in place.
// The service decides what a file says; this only shows it.
import { columnOf, el } from "./dom.js";
import { curves, plot } from "./plot.js";

const HEAD_BYTES = 400_000;
const MOST_BYTES = 64_000_000; // of a file that is searched for bad rows
const SHOWN_ROWS = 6;
const SHOWN_COLUMNS = 12;
const CURVES = 4;
const SEPARATORS = ["\t", ";", ",", " "];
const isNumber = (cell) => cell.trim() !== "" && Number.isFinite(Number(cell.trim().replace(/^([+-]?\d*),(\d+)$/, "$1.$2")));

function cells(line, separator) {
  if (!line.includes('"')) return line.split(separator);
  const quoted = new RegExp(`(?:^|${separator === "\t" ? "\\t" : separator})(?:"((?:[^"]|"")*)"|([^${separator}]*))`, "g");
  return [...line.matchAll(quoted)].map((match) => match[1]?.replaceAll('""', '"') ?? match[2] ?? "");
}

/** {names, rows} of a text with one row a line: blank lines and leading comments are no rows, nor is a header. */
function tableOf(text) {
  const lines = text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
  const first = lines.findIndex((line) => !line.startsWith("#"));
  if (first < 0) return null;
  const body = lines.slice(first);
  const sample = body.slice(0, 50);
  const widths = (separator) => sample.map((line) => cells(line, separator).length);
  const agree = (separator) => {
    const found = widths(separator);
    return found[0] > 1 ? found.filter((w) => w === found[found.length - 1]).length : 0;
  };
  const best = SEPARATORS.reduce((a, b) => (agree(b) > agree(a) ? b : a), "\t");
  const separator = agree(best) ? best : ",";
  const head = cells(body[0], separator).map((cell) => cell.trim());
  const headed = !head.some(isNumber);
  return { names: headed ? head : head.map((_, i) => `column ${i}`), rows: body.slice(headed ? 1 : 0).map((line) => cells(line, separator)) };
}

/** NPY of numbers in rows, little-endian, as {names, rows}; null for what this page cannot read. */
function arrayOf(buffer) {
  const view = new DataView(buffer);
  const wide = view.getUint8(6) > 1;
  const start = (wide ? 12 : 10) + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, wide ? 12 : 10, start - (wide ? 12 : 10)));
  const type = /'descr': '<([fi])([48])'/.exec(header);
  const shape = /'shape': \((\d+),\s*(\d*)\)/.exec(header);
  if (!type || !shape || /'fortran_order': True/.test(header)) return null;
  const size = Number(type[2]);
  const columns = Number(shape[2] || 1);
  const read = { f4: "getFloat32", f8: "getFloat64", i4: "getInt32", i8: "getBigInt64" }[type[1] + type[2]];
  const rows = [];
  for (let at = start; at + size * columns <= buffer.byteLength; at += size * columns) {
    rows.push(Array.from({ length: columns }, (_, k) => String(view[read](at + k * size, true))));
  }
  return { names: Array.from({ length: columns }, (_, k) => `column ${k}`), rows };
}

/** As much of a file as this page can read; null for the rest. `whole`: all of it, not only its beginning. */
async function read(file, whole = false) {
  const kind = file.name.split(".").pop().toLowerCase();
  if (kind === "parquet" || kind === "json" || (whole && file.size > MOST_BYTES)) return null;
  const part = whole || file.size <= HEAD_BYTES ? file : file.slice(0, HEAD_BYTES);
  if (kind === "npy") return arrayOf(await part.arrayBuffer());
  const text = await part.text();
  return tableOf(part === file ? text : text.slice(0, Math.max(text.lastIndexOf("\n"), text.lastIndexOf("\r"))));
}

/** The curves of the first columns of numbers. */
function sketch({ names, rows }) {
  const numeric = names.map((_, k) => k).filter((k) => rows.length > 1 && rows.slice(0, 20).some((row) => isNumber(row[k] ?? "")));
  const clock = numeric.find((k) => /^(t|time|timestamp|date)$/i.test(names[k]));
  const picked = numeric.filter((k) => k !== clock).slice(0, CURVES);
  if (!picked.length) return null;
  const shown = rows.slice(0, 3000);
  const x = shown.map((_, i) => i);
  const panels = picked.map((k) => ({ label: names[k], lines: [{ x, y: shown.map((row) => (isNumber(row[k] ?? "") ? Number(row[k].replace(",", ".")) : null)) }] }));
  return plot(curves({ panels, xLabel: "row", height: 84 }), { titled: false });
}

function rowTable(names, numbered, caption, isBad = () => false) {
  const columns = Math.min(SHOWN_COLUMNS, Math.max(names.length, ...numbered.map(([, row]) => row.length)));
  const head = Array.from({ length: columns }, (_, k) => names[k] ?? "");
  let before = null;
  const body = numbered.flatMap(([n, row]) => {
    const skipped = before !== null && n > before + 1 ? [el("tr", {}, el("td.fine", { colspan: columns + 1 }, "…"))] : [];
    before = n;
    const line = head.map((_, k) => {
      const bad = isBad(n, k);
      return el(bad ? "td.bad" : "td", {}, row[k] ?? "", bad && !(row[k] ?? "").trim() ? el("em", {}, "empty") : null, bad ? el("span.visually-hidden", {}, " (wrong)") : null);
    });
    const anyBad = head.some((_, k) => isBad(n, k));
    return [...skipped, el(anyBad ? "tr.badrow" : "tr", {}, el("th", { scope: "row" }, n.toLocaleString("en")), line)];
  });
  return el("div.scroll", { tabindex: "0", role: "region", "aria-label": caption }, el("table.cells", {}, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Row"), head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, body)));
}

/** First rows and curves of a chosen file. */
export async function previewOf(file) {
  const table = await read(file).catch(() => null);
  if (!table?.rows.length) return el("p.fine", {}, "No preview of this kind of file here: the service reads it and shows what it found.");
  const more = table.names.length > SHOWN_COLUMNS ? `, ${SHOWN_COLUMNS} of ${table.names.length} columns` : "";
  return el("div.preview", {}, rowTable(table.names, table.rows.slice(0, SHOWN_ROWS).map((row, i) => [i, row]), `The first rows of ${file.name}${more}`), sketch(table));
}

/** The rows that a refusal names, each between its neighbours, the wrong cells marked; null where nothing is named or readable. */
export async function badRows(files, problem) {
  const errors = (problem.document?.errors ?? []).filter((e) => e.rows?.length);
  if (!errors.length) return null;
  const name = errors[0].recording;
  const file = files.find((f) => name && f.name.startsWith(name)) ?? files[0];
  const table = await read(file, true).catch(() => null);
  if (!table) return null;
  const wrong = new Map(); // row -> columns, or all of them
  for (const error of errors) {
    const column = table.names.indexOf(columnOf(error.pointer));
    for (const row of error.rows) wrong.set(row, column < 0 || wrong.get(row) === null ? null : [...(wrong.get(row) ?? []), column]);
  }
  const around = new Set([...wrong.keys()].slice(0, 12).flatMap((row) => [row - 1, row, row + 1]));
  const numbered = [...around].filter((n) => n >= 0 && n < table.rows.length).sort((a, b) => a - b).map((n) => [n, table.rows[n]]);
  const isBad = (n, k) => wrong.has(n) && (wrong.get(n) === null || wrong.get(n).includes(k));
  return rowTable(table.names, numbered, `Where it is, in ${file.name} (rows counted from 0 below the header)`, isBad);
}

/** The stored rows that the audit names, each between its neighbours. */
export function auditedRows(channels, numbered, isBad) {
  return rowTable(channels, numbered, "Rows that the audit names, between their neighbours", isBad);
}
