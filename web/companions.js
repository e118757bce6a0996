// Series beside another one: external inputs and nuisance that were uploaded by themselves.
import { get } from "./api.js";
import { count, el, withUnit } from "./dom.js";

const ROLES = { input_series: "inputs", nuisance_series: "nuisance" };
const LOOKED_AT = 100; // newest series among which those that fit are looked for

/**
 * {node, value()}: every series that may go with this one, each with a choice of what it is; nothing to choose, no node.
 * `needed`: {field: channels}, of which it must have one to be of use there; null: any. `longer`: it may go on beyond the end, as forecasts allow.
 */
export async function companionChoice(series, { needed = null, longer = false } = {}) {
  const useful = (other, field) => !needed || other.channels.some((name) => needed[field].includes(name));
  const { data } = await get(`/v1/series?limit=${LOOKED_AT}`);
  const fits = data.filter((other) =>
    other.id !== series.id
    && other.time_unit === series.time_unit
    && Math.abs(other.dt - series.dt) * series.profile.n_steps <= 0.5 * series.dt
    && (longer ? other.n_steps >= series.profile.n_steps : other.n_steps === series.profile.n_steps)
    && Object.keys(ROLES).some((field) => useful(other, field)));
  const roles = (other) => Object.entries(ROLES).filter(([field]) => useful(other, field)).map(([field, title]) => el("option", { value: field }, title));
  const selects = fits.map((other) => [other, el("select", {}, el("option", { value: "" }, "not used"), roles(other))]);
  const value = () => {
    const chosen = { input_series: [], nuisance_series: [] };
    for (const [other, select] of selects) if (select.value) chosen[select.value].push({ series_id: other.id });
    return Object.fromEntries(Object.entries(chosen).filter(([, parts]) => parts.length));
  };
  if (!fits.length) return { node: null, value };
  const lines = selects.map(([other, select]) => el("label.field", {}, el("span", {}, other.name || `Series ${other.id.slice(-6)}`), select, el("small", {}, `${other.channels.slice(0, 5).join(", ")}${other.channels.length > 5 ? ", …" : ""}; ${count(other.n_steps)} steps, one every ${withUnit(other.dt, other.time_unit)}`)));
  const about = longer ? "Row by row beside this series; what a longer one holds beyond its end are the values to come." : "Inputs drive the system from outside, nuisance contaminates what is observed; row by row beside this series.";
  return { node: el("details.drawer", {}, el("summary", {}, "Inputs and nuisance from other series"), el("p.fine", {}, about), el("div.fields", {}, lines)), value };
}
