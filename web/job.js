// A job: live while it runs; afterwards its result, or the reason why there is none.
import { followJob, get, post, TERMINAL } from "./api.js";
import { duration, el, num, problemBox } from "./dom.js";
import { resultOf } from "./result.js";

const KIND = {
  reconstruct: "Reconstruction", lyapunov: "Lyapunov analysis", train: "Training", evaluate: "Evaluation", forecast: "Forecast",
};

export async function jobView(context, id) {
  const job = await get(`/v1/jobs/${id}`);
  const below = el("div");
  const complain = (problem) => below.replaceChildren(problemBox(problem));
  const status = statusCard(id, complain);
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
      if (now.result) below.replaceChildren(await resultOf(context, now.result));
    } catch (problem) {
      complain(problem);
    }
  }

  if (TERMINAL.has(job.status)) await update(job);
  else context.onLeave(followJob(id, { onJob: update, onMessage: status.say, onProblem: complain }));
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

/** Built once and then only filled in, so that the keyboard's place on the button is never lost. */
function statusCard(id, complain) {
  const badge = el("span.badge");
  const phase = el("strong");
  const time = el("span.fine");
  const bar = el("progress", { max: "1", value: "0", "aria-label": "Progress of the job" });
  const details = el("span.fine");
  const cancel = el("button", { type: "button" }, "Cancel");
  const words = el("ul.fine.plain");
  const lower = el("div", {}, bar, el("p.phase", {}, details, cancel), words);
  cancel.addEventListener("click", async () => {
    cancel.disabled = true;
    try {
      await post(`/v1/jobs/${id}/cancel`);
    } catch (problem) {
      cancel.disabled = false;
      complain(problem);
    }
  });

  function update(job) {
    const ended = TERMINAL.has(job.status);
    badge.className = `badge ${job.status}`;
    badge.textContent = job.status;
    phase.textContent = ended ? "" : job.progress.phase;
    time.textContent = ended ? took(job) : remaining(job);
    bar.value = job.progress.fraction;
    details.textContent = ended ? "" : metrics(job);
    lower.hidden = ended;
    if (job.status === "canceling") cancel.disabled = true;
  }

  const node = el("section.card", { "aria-label": "Progress" }, el("p.phase", {}, el("span", {}, badge, " ", phase), time), lower);
  return { node, update, say: (text) => words.append(el("li", {}, text)) };
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
  const parts = [];
  if (progress.total_steps) parts.push(`${num(progress.step)} of ${num(progress.total_steps)}`);
  for (const [name, value] of Object.entries(progress.metrics)) parts.push(`${name.replaceAll("_", " ")} ${num(value)}`);
  if (attempt > 1) parts.push(`attempt ${attempt} of ${maxAttempts}`);
  return parts.join(" · ");
}
