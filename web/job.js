// A job: live while it runs; afterwards its result, or the reason why there is none.
import { followJob, get, post, TERMINAL } from "./api.js";
import { count, duration, el, num, problemBox } from "./dom.js";
import { analysisView } from "./analysis.js";
import { evaluationView } from "./evaluation.js";
import { forecastView } from "./forecast.js";
import { modelView } from "./model.js";
import { curves, plot } from "./plot.js";

const KIND = {
  reconstruct: "Reconstruction", lyapunov: "Lyapunov analysis", train: "Training", evaluate: "Evaluation", forecast: "Forecast",
};
const VIEWS = { analysis: analysisView, model: modelView, forecast: forecastView, evaluation: evaluationView };

export async function jobView(context, id) {
  const job = await get(`/v1/jobs/${id}`);
  const below = el("div");
  const complain = (problem) => below.replaceChildren(problemBox(problem));
  const status = statusCard(context, id, complain);
  let phase = null;
  let ended = false;

  async function update(now) {
    status.update(now);
    const words = `${now.status}: ${now.progress.phase}`;
    if (words !== phase) context.announce(words);
    phase = words;
    if (!TERMINAL.has(now.status) || ended) return;
    ended = true;
    try {
      if (now.error) below.replaceChildren(failure(now.error));
      if (now.result) below.replaceChildren(await VIEWS[now.result.type](context, now.result.id, "", true));
    } catch (problem) {
      complain(problem);
    }
  }

  if (TERMINAL.has(job.status)) await update(job);
  else context.onLeave(followJob(id, { onJob: update, onMessage: status.say, onProgress: status.progress, onProblem: complain }));
  const links = el("p.fine", {}, KIND[job.kind], job.series_id ? [" of ", el("a", { href: `#${job.series_id}` }, "this series")] : null);
  return el("div", {}, links, el("h1", {}, await title(job)), status.node, below);
}

async function title(job) {
  const name = job.series_id ?? job.model_id ?? job.id;
  if (!job.series_id) return name;
  try {
    return (await get(`/v1/series/${job.series_id}`)).name || name;
  } catch {
    return name; // the series may have been deleted since; its results stay
  }
}

function failure(error) {
  return el(
    "div.problem",
    { role: "alert" },
    el("strong", {}, "The job failed "), el("code", {}, error.code),
    el("p", {}, error.detail),
    error.retryable ? el("p.fine", {}, "Starting it again may help.") : null,
  );
}

/** The loss of the run that is being trained, as the events tell it; they are told again after a reload. */
function lossCurve(context) {
  const box = el("div");
  const points = [];
  let scheduled = false;

  function draw() {
    scheduled = false;
    if (points.length < 2) return;
    const lines = [{ x: points.map((p) => p[0]), y: points.map((p) => p[1]), role: "model", width: 1.8 }];
    box.replaceChildren(el("p.paneltitle", {}, "Training loss"), plot(curves({ panels: [{ label: "loss", lines }], xLabel: "update, all runs", height: 170, log: true }), { titled: false }));
  }

  function add({ step, metrics }) {
    if (!(metrics?.loss > 0) || step === null) return;
    const last = points[points.length - 1];
    if (last && step < last[0]) points.length = 0; // another attempt began anew
    if (!last || step > last[0]) points.push([step, metrics.loss]);
    if (!scheduled) requestAnimationFrame(draw);
    scheduled = true;
  }

  document.addEventListener("themechange", draw);
  context.onLeave(() => document.removeEventListener("themechange", draw));
  return { box, add };
}

const ACTIONS = [["cancel", "Cancel"], ["pause", "Pause"], ["resume", "Resume"], ["retry", "Run it again"]];

/** Built once and then only filled in, so that the keyboard's place on a button is never lost. */
function statusCard(context, id, complain) {
  const badge = el("span.badge");
  const phase = el("strong");
  const time = el("span.fine");
  const bar = el("progress", { max: "1", value: "0", "aria-label": "Progress of the job" });
  const details = el("span.fine");
  const words = el("ul.fine.plain");
  const loss = lossCurve(context);
  const lower = el("div", {}, bar, el("p", {}, details), loss.box, words);
  const buttons = new Map(ACTIONS.map(([action, name]) => [action, el("button", { type: "button", hidden: true, onclick: () => act(action) }, name)]));
  const row = el("p.inline", {}, [...buttons.values()]);

  async function act(action) {
    const button = buttons.get(action);
    button.disabled = true;
    try {
      const job = await post(`/v1/jobs/${id}/${action}`);
      if (action === "retry") context.go(job.id);
      else update(job);
    } catch (problem) {
      complain(problem);
    }
    button.disabled = false;
  }

  function update(job) {
    const ended = TERMINAL.has(job.status);
    badge.className = `badge ${job.status}`;
    badge.textContent = job.status;
    phase.textContent = ended ? "" : job.progress.phase;
    time.textContent = ended ? took(job) : remaining(job);
    bar.value = job.progress.fraction;
    details.textContent = ended ? "" : metrics(job);
    lower.hidden = ended;
    for (const [action, button] of buttons) button.hidden = !job.links[action];
    if (job.status === "canceling") buttons.get("cancel").disabled = true;
    row.hidden = [...buttons.values()].every((button) => button.hidden);
  }

  const node = el("section.card", { "aria-label": "Progress" }, el("p.phase", {}, el("span", {}, badge, " ", phase), time), lower, row);
  return { node, update, progress: loss.add, say: (text) => words.append(el("li", {}, text)) };
}

function took(job) {
  return job.started_at ? `took ${duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}` : "";
}

function remaining({ progress, started_at: startedAt }) {
  const parts = [`${Math.round(progress.fraction * 100)} %`];
  if (startedAt) parts.push(`${duration((Date.now() - new Date(startedAt)) / 1000)} so far`);
  if (progress.eta_s !== null) parts.push(`about ${duration(progress.eta_s)} left`);
  return parts.join(" · ");
}

function metrics({ progress, attempt, max_attempts: maxAttempts }) {
  const parts = progress.phase === "compiling" ? ["once for each kind of model, for up to a minute"] : [];
  if (progress.total_steps) parts.push(`update ${count(progress.step)} of ${count(progress.total_steps)}`);
  for (const [name, value] of Object.entries(progress.metrics)) parts.push(`${name.replaceAll("_", " ")} ${num(value)}`);
  if (attempt > 1) parts.push(`attempt ${attempt} of ${maxAttempts}`);
  return parts.join(" · ");
}
