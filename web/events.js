// Server-sent events over fetch: EventSource cannot send the header that carries the key.
import { authorizedFetch } from "./session.js";

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15000;

/** Text in pieces, as they come, into events {id, type, data} (WHATWG HTML, section 9.2.6). */
export class EventParser {
  #rest = "";
  #event = { type: "", data: [] };
  lastId = "";

  /** The events that this piece completes. */
  push(text) {
    const events = [];
    this.#rest += text;
    // A carriage return at the very end may be half of a line's end.
    for (let end; (end = /\r\n|\n|\r(?!$)/.exec(this.#rest)); ) {
      const line = this.#rest.slice(0, end.index);
      this.#rest = this.#rest.slice(end.index + end[0].length);
      if (line === "") {
        if (this.#event.data.length) events.push({ id: this.lastId, type: this.#event.type || "message", data: this.#event.data.join("\n") });
        this.#event = { type: "", data: [] };
      } else this.#field(line);
    }
    return events;
  }

  #field(line) {
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (name === "event") this.#event.type = value;
    else if (name === "data") this.#event.data.push(value);
    else if (name === "id" && !value.includes("\0")) this.lastId = value;
  }
}

/**
 * Calls onEvent for every event of a stream, and onBreak whenever it was interrupted; goes on after the last event that
 * came, until the service answers that there are no more (204) or refuses. Answers a function that stops it.
 */
export function followEvents(path, { onEvent, onBreak }) {
  const stopped = new AbortController();
  const { signal } = stopped;

  async function once(lastId) {
    const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const response = await authorizedFetch(path, { headers, signal, cache: "no-store" });
    if (response.status === 204 || (response.status >= 400 && response.status < 500 && response.status !== 429)) return { ended: true, lastId };
    if (!response.ok) return { ended: false, lastId, came: 0 };
    const parser = new EventParser();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let came = 0;
    try {
      for (let piece; !(piece = await reader.read()).done; ) {
        for (const event of parser.push(piece.value)) {
          came += 1;
          onEvent(event);
        }
      }
    } catch {
      // The connection broke in the middle: what came is kept, the rest is asked for again.
    }
    return { ended: false, lastId: parser.lastId || lastId, came };
  }

  async function run() {
    let lastId = "";
    let pause = FIRST_PAUSE;
    while (!signal.aborted) {
      let turn = { ended: false, lastId, came: 0 };
      try {
        turn = await once(lastId);
      } catch {
        // The service cannot be reached, or this was stopped: looked at again below.
      }
      if (signal.aborted || turn.ended) return;
      lastId = turn.lastId;
      pause = turn.came ? FIRST_PAUSE : Math.min(2 * pause, LONGEST_PAUSE);
      onBreak();
      await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
    }
  }

  run();
  return () => stopped.abort();
}
