/** One stream for all watches of all pages of an origin: which page reads it, and what each keeps of it. */

import { Known } from "./known.js";
import { Watch } from "./watch.js";
import { EventStream, FIRST_MS, MAX_UIDS, PresenceError, lasting, pause, problem } from "./wire.js";

const GATHER_MS = 20; // watches that begin within so long of each other share the opening of the stream
const LEAD_MS = 100; // for the other pages to say whom they watch
const SILENT_MS = 45_000; // the service beats every 15 s
const MOST_MS = 30_000;
const MISSED_BEATS = 4; // a page that answers none of so many is not there any more
const CHANGED = "changed";
const OVER = "over";

/** What is known of the users of all watches of this page, and the stream that keeps it right, wherever it is read. */
export class Feed {
  known = new Known();
  #cursor = null;
  #watches = new Set();
  #own = new Set(); // whom they watch
  #tab = Math.random().toString(36).slice(2);
  #channel = null;
  #leading = null; // while this page reads the stream: what ends that
  #isNew = false; // until it has told the others all that it knows
  #opening = null;
  #streamed = new Set();
  #others = new Map(); // of each other page: whom it watches, and how many beats it has not answered
  #heardAt = Date.now();
  #timer = null;
  #over = null;

  constructor(ledger, list, name, lostMs) {
    Object.assign(this, { ledger, list, name, lostMs });
    addEventListener("pageshow", ({ persisted }) => persisted && !this.#over && this.#watches.size && this.#start());
  }

  add(uids, listener) {
    const watch = new Watch(this, uids, listener);
    const wanted = this.#wanted();
    for (const uid of uids ?? []) wanted.add(uid);
    if (wanted.size > MAX_UIDS) {
      const detail = `${wanted.size} users; at most ${MAX_UIDS}: make a list of them`;
      throw new PresenceError(422, "Invalid request", `uids: ${detail}`, [{ field: "uids", detail }]);
    }
    this.#watches.add(watch);
    this.#setWatches();
    for (const presence of watch.presences) watch.tell("change", presence);
    watch.settle();
    if (this.#over) {
      this.#wanting();
      this.#changed();
    } else {
      this.#start();
    }
    return watch;
  }

  remove(watch) {
    if (!this.#watches.delete(watch)) return;
    this.#setWatches();
    if (this.#watches.size === 0) this.close();
    else if (!this.#leading) this.#forgetOthers();
  }

  close() {
    this.#watches.clear();
    this.#setWatches();
    this.#stop();
    this.known = new Known();
    this.#cursor = null;
  }

  // Which page reads the stream: the one that holds the lock.

  #start() {
    const over = (this.#over = new AbortController());
    const signal = over.signal;
    addEventListener("pagehide", () => this.#stop(), { signal });
    addEventListener("offline", () => this.#opening?.abort("offline"), { signal });
    if (!this.name || !globalThis.navigator?.locks || !globalThis.BroadcastChannel) {
      this.#lead(over.signal);
      return;
    }
    this.#channel = new BroadcastChannel(this.name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#heardAt = Date.now();
    this.#timer = setInterval(() => this.#mind(), Math.min(15_000, this.lostMs / 4));
    addEventListener("visibilitychange", () => this.#mind(), { signal });
    this.#candidate({ signal });
    this.#wanting();
  }

  #stop() {
    this.#over?.abort(OVER);
    this.#over = null;
    this.#post({ type: "bye" });
    this.#channel?.close();
    this.#channel = null;
    clearInterval(this.#timer);
    this.#others.clear();
    this.#setLive(false);
  }

  async #candidate(options) {
    const over = this.#over;
    const leading = new AbortController();
    over.signal.addEventListener("abort", () => leading.abort(OVER));
    try {
      await navigator.locks.request(this.name, options, () => this.#lead(leading.signal));
    } catch {
      // Another page has taken it over, since this one was suspended.
      leading.abort(OVER);
      if (!over.signal.aborted && !options.steal) this.#candidate({ signal: over.signal });
    }
  }

  /** Whether the page that reads the stream is still there; if not, read it. */
  #mind() {
    if (this.#leading || !this.#over) return;
    const silent = Date.now() - this.#heardAt;
    if (silent > Math.min(SILENT_MS, this.lostMs)) this.#setLive(false);
    if (silent > this.lostMs * (document.visibilityState === "visible" ? 1 : 1.5 + Math.random())) {
      this.#heardAt = Date.now();
      this.#candidate({ steal: true });
    }
  }

  // What pages say to each other.

  #post(message) {
    this.#channel?.postMessage({ from: this.#tab, ...message });
  }

  #wanting() {
    this.#post({ type: "want", uids: [...this.#own] });
  }

  #hear({ type, from, ...said }) {
    if (type === "want" || type === "here" || type === "bye") {
      if (this.#leading) this.#hearFollower(type, from, said.uids);
      return;
    }
    if (this.#leading) return;
    this.#heardAt = Date.now();
    if (type === "led") this.#wanting();
    else if (type === "broken") this.#setLive(false);
    else if (type === "refused") this.#refused(said.uids, new PresenceError(...said.error));
    else if (type === "told") this.#applyAll(said.told, said.cursor);
    else if (type === "fill" && (said.to === null || said.to === this.#tab)) {
      if (this.known.epoch === null) this.known.begin(said.epoch, true);
      this.#cursor = said.cursor;
      for (const presence of said.items) this.#take(presence);
      this.#setLive(said.live);
    }
    if (type === "told" && said.told.some(({ event }) => event === "heartbeat")) this.#post({ type: "here" });
  }

  #hearFollower(type, from, uids) {
    const known = this.#others.get(from);
    if (type === "bye") this.#others.delete(from);
    else if (type === "here" && known) known.missed = 0;
    else if (type === "here") this.#post({ type: "led" });
    else {
      this.#others.set(from, { uids: new Set(uids), missed: 0 });
      this.#fill(from, this.list === null ? uids : this.known.uids);
      this.#changed();
    }
  }

  #fill(to, uids) {
    const { live, epoch } = this.known;
    this.#post({ type: "fill", to, items: this.known.handOn(uids), live, epoch, cursor: this.#cursor });
  }

  // The stream, read by the page that leads.

  async #lead(signal) {
    this.#leading = signal;
    this.#streamed = new Set();
    this.#isNew = this.#channel !== null;
    let failed = 0;
    try {
      this.#post({ type: "led" });
      await pause(this.#channel ? LEAD_MS : 0, signal);
      while (!signal.aborted) {
        await this.#gather(signal);
        if (this.#someAreNew()) continue; // while others were asked about
        const opening = (this.#opening = new AbortController());
        signal.addEventListener("abort", () => opening.abort(OVER));
        let told = 0;
        try {
          told = await this.#read(opening, () => (failed = 0));
        } catch (error) {
          if (signal.aborted) return;
          if (opening.signal.reason === CHANGED) continue;
          if (lasting(error, this.ledger.renews)) return this.#fail(error, this.#watches);
        }
        this.#post({ type: "broken" });
        this.#setLive(false);
        const bound = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(failed++, 16));
        await pause(Math.max(told, bound * (0.25 + 0.75 * Math.random())), signal, true);
      }
    } finally {
      if (this.#leading === signal) this.#leading = null;
    }
  }

  /** Whom the stream is to tell of from now on; those who are new are asked about, unless it begins anyway. */
  async #gather(signal) {
    if (this.list !== null) return;
    await pause(GATHER_MS, signal);
    const wanted = this.#wanted();
    this.#streamed = wanted;
    for (const uid of this.known.uids) if (!wanted.has(uid)) this.known.forget(uid);
    const unknown = [...wanted].filter((uid) => !this.known.has(uid));
    if (this.#cursor === null || unknown.length === 0) return;
    try {
      const items = await this.ledger.query(unknown);
      if (items.some(({ stale }) => stale)) {
        this.#cursor = null; // from the service's memory, which may be of before the cursor
        return;
      }
      for (const { stale, ...presence } of items) if (!this.known.has(presence.uid)) this.#take(presence);
      this.#fill(null, unknown);
      this.#setLive(this.known.live);
    } catch (error) {
      this.#cursor = null; // begin anew: then the stream itself tells of all of them
      if (!lasting(error, this.ledger.renews)) return;
      const { status, title, detail, errors } = error;
      this.#post({ type: "refused", uids: unknown, error: [status, title, detail, errors] });
      this.#refused(unknown, error);
      for (const other of this.#others.values()) for (const uid of unknown) other.uids.delete(uid);
      this.#streamed = this.#wanted();
    }
  }

  /** Read one stream to its end; returns the milliseconds after which the service would have us come again. */
  async #read(opening, succeeded) {
    const { signal } = opening;
    let watchdog;
    const awake = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => opening.abort("silent"), SILENT_MS);
    };
    try {
      awake();
      const headers = { Accept: "text/event-stream", ...(this.#cursor ? { "Last-Event-ID": this.#cursor } : {}) };
      const response = await this.ledger.open(
        this.list === null ? "v1/stream" : `v1/stream?list=${encodeURIComponent(this.list)}`,
        this.list === null
          ? { method: "POST", body: { uids: [...this.#streamed].sort() }, headers, signal }
          : { headers, signal },
      );
      if (!response.ok) throw await problem(response);
      const events = new EventStream(this.#cursor);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return events.retry;
        awake();
        const told = events.feed(value);
        if (told.length) succeeded();
        this.#applyAll(told, events.cursor);
        this.#post({ type: "told", told, cursor: events.cursor });
        // What the page before this one told last may not have reached all.
        if (this.#isNew && told.some(({ event }) => event === "ready")) {
          this.#isNew = false;
          this.#fill(null, this.known.uids);
        }
        if (told.some(({ event }) => event === "heartbeat")) this.#countBeat();
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #countBeat() {
    for (const [tab, other] of this.#others) if (++other.missed > MISSED_BEATS) this.#others.delete(tab);
  }

  #changed() {
    if (this.#leading && this.#someAreNew()) this.#opening?.abort(CHANGED);
  }

  #someAreNew() {
    return [...this.#wanted()].some((uid) => !this.#streamed.has(uid));
  }

  #setWatches() {
    this.#own = new Set([...this.#watches].flatMap((watch) => [...(watch.uids ?? [])]));
  }

  #wanted() {
    const wanted = new Set(this.#own);
    for (const other of this.#others.values()) for (const uid of other.uids) wanted.add(uid);
    return wanted;
  }

  // What is told, and what is known after it: only what is later is applied.

  #applyAll(told, cursor) {
    this.#cursor = cursor;
    for (const { event, data } of told) {
      if (event === "resumed") this.known.begin(data.as_of.epoch, data.recovered);
      else if (event === "presence") this.#take(data);
      else if (event === "gone" && this.known.forget(data.uid)) this.#tellGone(data.uid);
      else if (event === "ready" || event === "heartbeat") {
        this.known.confirm().forEach((uid) => this.#tellGone(uid));
        this.#setLive(true);
      }
    }
  }

  #take(presence) {
    const { uid } = presence;
    if (this.list === null && !this.#leading && !this.#own.has(uid)) return;
    if (!this.known.take(presence)) return;
    for (const watch of this.#watches) if (watch.has(uid)) watch.tell("change", this.known.get(uid));
  }

  #tellGone(uid) {
    for (const watch of this.#watches) if (watch.has(uid)) watch.tell("gone", uid);
  }

  #forgetOthers() {
    if (this.list === null) for (const uid of this.known.uids) if (!this.#own.has(uid)) this.known.forget(uid);
  }

  #setLive(live) {
    const was = this.known.live;
    this.known.live = live;
    if (was !== live) for (const watch of this.#watches) watch.tell("state", { stale: !live });
    if (live) for (const watch of this.#watches) watch.settle();
  }

  /** Those who watch others go on. */
  #refused(uids, error) {
    this.#fail(error, [...this.#watches].filter((watch) => uids.some((uid) => watch.uids?.has(uid))));
  }

  #fail(error, failed) {
    for (const watch of [...failed]) {
      this.#watches.delete(watch);
      watch.reject(error);
      watch.tell("error", error);
    }
    this.#setWatches();
    if (this.#watches.size === 0) this.close();
  }
}
