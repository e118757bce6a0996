// A series for those who bring none: the Lorenz system with observation noise, made in the page.

const DT = 0.01;

function flow([x, y, z]) {
  return [10 * (y - x), x * (28 - z) - y, x * y - (8 / 3) * z];
}

/** One step of the classical Runge-Kutta method of order four. */
function step(u) {
  const shifted = (k, h) => u.map((v, i) => v + h * k[i]);
  const a = flow(u);
  const b = flow(shifted(a, DT / 2));
  const c = flow(shifted(b, DT / 2));
  const d = flow(shifted(c, DT));
  return u.map((v, i) => v + (DT / 6) * (a[i] + 2 * b[i] + 2 * c[i] + d[i]));
}

/** Two independent standard normal numbers (Box and Muller) from a small seeded generator (mulberry32). */
function gaussian(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** [file, fields] of Lorenz-63, 10,000 steps on the attractor, noise of 5 % of each channel's standard deviation. */
export function lorenzSample() {
  const noise = gaussian(63);
  const std = [7.9, 9.0, 8.6];
  let u = [1, 1, 20];
  for (let i = 0; i < 2000; i++) u = step(u);
  const rows = ["x,y,z"];
  for (let i = 0; i < 10000; i++) {
    u = step(u);
    rows.push(u.map((v, k) => (v + 0.05 * std[k] * noise()).toFixed(6)).join(","));
  }
  return [new File([rows.join("\n")], "lorenz63.csv", { type: "text/csv" }), { dt: String(DT), time_unit: "s", name: "Lorenz-63 with 5 % noise" }];
}
