/** What goes over the wire: events of a stream, errors, and when to try again. */

export const FIRST_MS = 500;
export const MAX_UIDS = 10_000;

/** An error that the service answered (RFC 9457); status 0: no service answers. */
export class PresenceError extends Error {
  constructor(status, title, detail = "", errors = []) {
    super([title, detail].filter(Boolean).join(": "));
    this.name = "PresenceError";
    Object.assign(this, { status, title, detail, errors });
  }
}

/** Reads WHATWG's event stream: text as it comes in, events with the reader's cursor out. */
export class EventStream {
  retry = 0;
  #rest = "";
  #event = "";
  #data = [];
  #id = null;

  constructor(cursor) {
    this.cursor = cursor;
  }

  feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    const told = [];
    for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
      const colon = line.includes(":") ? line.indexOf(":") : line.length;
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1).replace(/^ /, "");
      if (line === "") {
        if (this.#id !== null) this.cursor = this.#id || null;
        if (this.#data.length) told.push({ event: this.#event, data: JSON.parse(this.#data.join("\n")) });
        [this.#event, this.#data, this.#id] = ["", [], null];
      } else if (name === "event") this.#event = value;
      else if (name === "data") this.#data.push(value);
      else if (name === "id") this.#id = value;
      else if (name === "retry") this.retry = Number(value) || 0;
    }
    return told;
  }
}

export async function problem(response) {
  try {
    const { title, detail, errors } = await response.json();
    return new PresenceError(response.status, title, detail, errors);
  } catch {
    return new PresenceError(response.status, `an answer with status ${response.status} that is none of presence ledger's`);
  }
}

/** Whether asking for the same again would fail alike, so that it is the page that has to act. */
export function lasting(error, renews) {
  if (!(error instanceof PresenceError) || error.title?.startsWith("an answer with status")) return false;
  if (error.status === 401) return !renews;
  return error.status >= 400 && error.status < 500 && error.status !== 408 && error.status !== 429;
}

/** Wait, at most until the signal; where it is to be `woken`, the network or the reader comes back sooner, perhaps. */
export function pause(ms, signal, woken = false) {
  const wakes = woken ? ["online", "visibilitychange"] : [];
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      for (const event of wakes) removeEventListener(event, soon);
      resolve();
    };
    let timer = setTimeout(done, ms);
    const soon = () => {
      if (document.visibilityState === "hidden") return;
      clearTimeout(timer);
      timer = setTimeout(done, Math.random() * FIRST_MS); // not all pages go on at once
    };
    if (signal.aborted) return done();
    signal.addEventListener("abort", done);
    for (const event of wakes) addEventListener(event, soon);
  });
}
