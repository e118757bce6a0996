// The public API, called as any other program would call it. Every refusal becomes a Problem.
import { followEvents } from "./events.js";
import { authorizedFetch, credentials } from "./session.js";

/** A refusal as the service describes it (RFC 9457), or a failed connection. */
export class Problem extends Error {
  constructor(document) {
    super(document.detail || document.title);
    this.document = document;
  }
}

function problemFrom(status, text, requestId) {
  try {
    const document = JSON.parse(text);
    if (document && document.title) return new Problem(document);
  } catch {
    // Not JSON: a proxy in between may answer in its own words, shown below as they are.
  }
  return new Problem({ title: `The service answered ${status}`, detail: text.slice(0, 400), status, request_id: requestId });
}

const UNREACHABLE = { title: "The service cannot be reached", detail: "Is it still running? Nothing was lost: jobs go on when it is back." };

/** Answers the parsed JSON body (null for 204); throws a Problem. */
export async function request(method, path, { json, headers = {} } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers } };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await authorizedFetch(path, options);
  } catch {
    throw new Problem(UNREACHABLE);
  }
  const text = await response.text();
  if (!response.ok) throw problemFrom(response.status, text, response.headers.get("X-Request-Id"));
  return text ? JSON.parse(text) : null;
}

export const get = (path) => request("GET", path);
export const post = (path, json) => request("POST", path, { json });

/** Uploads files (several: recordings of one series) with their fields. XMLHttpRequest, because fetch reports no upload progress. */
export async function uploadSeries(files, fields, onFraction) {
  await get("/v1/me"); // who has no key yet is asked for it before the file is sent
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value !== "") form.append(name, value);
  for (const file of files) form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open("POST", "/v1/series");
    for (const [name, value] of Object.entries(credentials())) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => event.lengthComputable && onFraction(event.loaded / event.total);
    xhr.onerror = () => reject(new Problem(UNREACHABLE));
    xhr.onload = () => {
      if (xhr.status < 300) resolve({ series: JSON.parse(xhr.responseText), duplicate: xhr.status === 200 });
      else reject(problemFrom(xhr.status, xhr.responseText, xhr.getResponseHeader("X-Request-Id")));
    };
    xhr.send(form);
  });
}

export const TERMINAL = new Set(["succeeded", "failed", "canceled"]);

/**
 * Calls onJob with the job now and after every event until it has ended, onProgress with every progress since its start (after a
 * reload as well), and onMessage with what it says in words.
 * Answers a function that stops following.
 */
export function followJob(id, { onJob, onMessage, onProgress, onProblem }) {
  let close = null;
  let stopped = false;
  let busy = false;
  let again = false;

  // Events say *that* something happened; the job itself is read anew, so what is shown is never half a truth.
  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      do {
        again = false;
        const job = await get(`/v1/jobs/${id}`);
        if (stopped) return;
        onJob(job);
        if (TERMINAL.has(job.status)) stop();
      } while (again && !stopped);
    } catch (problem) {
      if (!stopped) onProblem(problem);
    } finally {
      busy = false;
    }
  }

  function stop() {
    stopped = true;
    close?.();
  }

  close = followEvents(`/v1/jobs/${id}/events`, {
    onEvent: ({ type, data }) => {
      const { data: told } = JSON.parse(data);
      if (type === "message") return onMessage(told.text);
      if (type === "progress") onProgress(told);
      return refresh();
    },
    onBreak: refresh,
  });
  refresh();
  return stop;
}
