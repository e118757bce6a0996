// A form from a JSON Schema, so that every parameter the service learns of appears by itself: types, bounds, choices, help.
// What is left alone is not sent: the service's default counts.
import { el, num } from "./dom.js";

const spoken = (name) => name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
let numbered = 0;

/** The words of a description, `code` as such. */
function help(text) {
  return (text ?? "").split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
}

/** A schema with its reference followed; what stands beside the reference wins. */
function resolved(schema, root) {
  if (!schema.$ref) return schema;
  const { $ref: reference, ...beside } = schema;
  const target = reference.split("/").slice(1).reduce((at, key) => at[key], root);
  return { ...resolved(target, root), ...beside, about: target.description };
}

/** What a value may be: the members of every union, one after the other. */
function members(schema, root) {
  const whole = resolved(schema, root);
  const union = whole.anyOf ?? whole.oneOf;
  return union ? union.flatMap((member) => members(member, root)) : [whole];
}

function bounds({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const from = exclusiveMinimum === undefined ? "from" : "above";
  const to = exclusiveMaximum === undefined ? "to" : "below";
  if (low === undefined && high === undefined) return "";
  if (high === undefined) return `${from} ${num(low, 9)}`;
  return low === undefined ? `${to} ${num(high, 9)}` : `${from} ${num(low, 9)} ${to} ${num(high, 9)}`;
}

const shownDefault = (value) => (value === null || value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value));
const number = (text) => (text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : text.trim());

class Builder {
  constructor(root, channels) {
    this.root = root;
    this.channels = channels;
    this.places = new Map(); // pointer -> {input, error}
  }

  /** {node, value()} of one property; `value()` is undefined where the default is left alone. */
  property(name, schema, pointer) {
    const whole = resolved(schema, this.root);
    const kinds = members(schema, this.root);
    if (whole.additionalProperties?.enum) return this.byChannel(name, whole, pointer);
    const objects = kinds.filter((k) => k.type === "object" || k.properties);
    if (objects.length === 1 && kinds.length === 1) return this.group(name, whole, pointer);
    if (objects.length) return this.union(name, whole, kinds, objects, pointer);
    return this.control(name, whole, kinds, pointer);
  }

  /** The fields of an object. */
  fields(schema, pointer) {
    const parts = Object.entries(schema.properties ?? {}).filter(([, s]) => s.const === undefined).map(([name, s]) => [name, this.property(name, s, `${pointer}/${name}`)]);
    const value = () => {
      const given = parts.map(([name, part]) => [name, part.value()]).filter(([, v]) => v !== undefined);
      return given.length ? Object.fromEntries(given) : undefined;
    };
    const simple = parts.filter(([, part]) => !part.wide).map(([, part]) => part.node);
    const wide = parts.filter(([, part]) => part.wide).map(([, part]) => part.node);
    return { node: [simple.length ? el("div.fields", {}, simple) : null, wide], value };
  }

  group(name, schema, pointer) {
    const { node, value } = this.fields(schema, pointer);
    const error = this.placed(pointer, null);
    const about = schema.description ?? schema.about;
    return { wide: true, value, node: el("fieldset.group", {}, el("legend", {}, spoken(name)), about ? el("p.fine", {}, help(about)) : null, error, node) };
  }

  /** One of several objects, told apart by their `kind`, or a word such as `auto` in place of any. */
  union(name, schema, kinds, objects, pointer) {
    const tagOf = (object) => object.properties.kind?.const ?? object.title;
    const words = kinds.filter((k) => k.const !== undefined).map((k) => k.const);
    const usual = schema.default?.kind ?? schema.default ?? "";
    const builds = new Map(objects.map((object) => [tagOf(object), object]));
    const choices = [...words, ...builds.keys()];
    const select = el("select", {}, choices.map((c) => el("option", { value: c, selected: c === usual }, c === usual ? `${c} (default)` : c)));
    const nested = el("div");
    let part = null;
    const show = () => {
      const object = builds.get(select.value);
      part = object ? this.fields(object, pointer) : null;
      nested.replaceChildren(...(object ? [el("p.fine", {}, help(object.about ?? object.description)), ...part.node.flat().filter(Boolean)] : []));
    };
    select.addEventListener("change", show);
    show();
    const value = () => {
      if (words.includes(select.value)) return select.value === usual ? undefined : select.value;
      const inner = part.value();
      return inner === undefined && select.value === usual ? undefined : { kind: select.value, ...inner };
    };
    const label = this.labelled(spoken(name), select, schema.description, "", pointer);
    return { wide: true, value, node: el("div.group", {}, label, nested) };
  }

  control(name, schema, kinds, pointer) {
    const words = kinds.flatMap((k) => (k.const !== undefined ? [k.const] : k.enum ?? []));
    const numeric = kinds.find((k) => k.type === "number" || k.type === "integer");
    const list = kinds.find((k) => k.type === "array");
    const title = spoken(name);
    if (list && name.endsWith("channels") && this.channels.length) return this.checks(title, schema, pointer);
    if (kinds.some((k) => k.type === "boolean")) return this.choice(title, schema, [true, false], pointer);
    if (words.length && !numeric && !list) return this.choice(title, schema, words, pointer);
    const others = words.filter((w) => w !== schema.default);
    const input = el("input", { type: "text", autocomplete: "off", spellcheck: "false", inputmode: numeric && !others.length ? "decimal" : null, placeholder: shownDefault(schema.default) });
    const hint = [others.length ? `or ${others.join(", ")}` : "", numeric ? bounds(numeric) : "", list ? "separated by commas" : ""].filter(Boolean).join("; ");
    const read = (text) => {
      if (words.includes(text)) return text;
      if (list) return text.split(",").map((item) => (list.items?.type === "string" ? item.trim() : number(item)));
      return numeric ? number(text) : text;
    };
    const value = () => (input.value.trim() === "" ? undefined : read(input.value.trim()));
    return { value, node: this.labelled(title, input, schema.description, hint, pointer) };
  }

  choice(title, schema, words, pointer) {
    const text = (w) => ({ true: "yes", false: "no" })[w] ?? String(w);
    const usual = schema.default ?? null;
    const select = el("select", {}, [
      usual === null ? el("option", { value: "" }, "not set") : null,
      ...words.map((w) => el("option", { value: JSON.stringify(w), selected: w === usual }, w === usual ? `${text(w)} (default)` : text(w))),
    ]);
    const value = () => (select.value === "" || select.value === JSON.stringify(usual) ? undefined : JSON.parse(select.value));
    return { value, node: this.labelled(title, select, schema.description, "", pointer) };
  }

  /** One word for each channel, the first of the words being the usual one. */
  byChannel(name, schema, pointer) {
    const words = schema.additionalProperties.enum;
    const selects = this.channels.map((channel) => [channel, el("select", {}, words.map((w, i) => el("option", { value: w }, i ? w : `${w} (default)`)))]);
    const error = this.placed(pointer, selects[0]?.[1] ?? null);
    const value = () => {
      const given = selects.filter(([, select]) => select.value !== words[0]).map(([channel, select]) => [channel, select.value]);
      return given.length ? Object.fromEntries(given) : undefined;
    };
    const parts = selects.map(([channel, select]) => this.labelled(channel, select, "", "", `${pointer}/${channel.replaceAll("~", "~0").replaceAll("/", "~1")}`));
    const hint = this.channels.length ? null : el("p.fine", {}, "The channels are known once a series is chosen.");
    return { wide: true, value, node: el("fieldset.group", {}, el("legend", {}, spoken(name)), el("p.fine", {}, help(schema.description)), hint, el("div.fields", {}, parts), error) };
  }

  checks(title, schema, pointer) {
    const boxes = this.channels.map((name) => el("input", { type: "checkbox", value: name }));
    const error = this.placed(pointer, boxes[0]);
    const value = () => {
      const picked = boxes.filter((box) => box.checked).map((box) => box.value);
      return picked.length ? picked : undefined;
    };
    const labels = boxes.map((box) => el("label", {}, box, ` ${box.value}`));
    return { wide: true, value, node: el("fieldset.group", {}, el("legend", {}, title), el("p.fine", {}, help(schema.description)), el("div.checks", { tabindex: boxes.length > 20 ? "0" : null }, labels), error) };
  }

  labelled(title, input, description, hint, pointer) {
    const error = this.placed(pointer, input);
    const about = el("small", { id: `help${++numbered}` }, help(description), hint ? [description ? " " : "", el("em", {}, `(${hint})`)] : null);
    const name = el("span", { id: `name${numbered}` }, title);
    input.setAttribute("aria-labelledby", name.id);
    input.setAttribute("aria-describedby", `${about.id} ${error.id}`);
    return el("div.field", {}, el("label", {}, name, input), error, about);
  }

  placed(pointer, input) {
    const error = el("span.error", { id: `error${++numbered}`, hidden: true });
    this.places.set(pointer, { input, error });
    return error;
  }

  /** Puts what the service says beside the fields it speaks of; answers what found no place. */
  show(errors) {
    for (const { input, error } of this.places.values()) {
      error.hidden = true;
      input?.removeAttribute("aria-invalid");
    }
    return errors.filter(({ pointer, detail }) => {
      let at = pointer ?? "";
      while (at && !this.places.has(at)) at = at.slice(0, at.lastIndexOf("/"));
      const place = this.places.get(at);
      if (!place) return true;
      place.error.textContent = detail;
      place.error.hidden = false;
      place.input?.setAttribute("aria-invalid", "true");
      return false;
    });
  }
}

/** {node, value(), show(errors)} for an object's schema; `base` is where its values stand in the request. */
export function schemaForm(schema, { base = "", channels = [], skip = [] } = {}) {
  const builder = new Builder(schema, channels);
  const properties = Object.fromEntries(Object.entries(resolved(schema, schema).properties).filter(([name]) => !skip.includes(name)));
  const { node, value } = builder.fields({ properties }, base ? `/${base}` : "");
  return { node: el("div", {}, node), value: () => value() ?? {}, show: (errors) => builder.show(errors) };
}
