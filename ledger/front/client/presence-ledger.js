/**
 * The browser's client of presence ledger: ask, and watch over one stream that all pages of an origin share.
 * An ES module without dependencies; its types are in presence-ledger.d.ts.
 */

import { Feed } from "./feed.js";
import { MAX_UIDS, PresenceError, problem } from "./wire.js";

export { PresenceError };

/** A presence ledger at `url`, by default where this module came from, asked with what `token` is or gives. */
export class PresenceLedger {
  #url;
  #token;
  #given = null;
  #share;
  #lostMs;
  #feeds = new Map();

  constructor({ url = new URL("..", import.meta.url), token = null, share = "default", lostSeconds = 150 } = {}) {
    this.#url = new URL(String(url).replace(/\/*$/, "/"), globalThis.location?.href);
    this.#token = token;
    this.#share = share;
    this.#lostMs = lostSeconds * 1000;
  }

  /** One user's presence; of a user who is watched, and while the stream is there, without asking. */
  async get(uid) {
    const known = this.#feeds.get(null)?.known.right(uid);
    if (known) return known;
    // A browser takes these for steps in the path, however they are written.
    if (uid === "." || uid === "..") return (await this.query([uid]))[0];
    return marked(await this.#json("GET", `v1/users/${encodeURIComponent(uid)}/presence`));
  }

  /** The presences of up to 10,000 users in the order asked; with `fields` these alone, beside `uid` and `as_of`. */
  async query(uids, { fields } = {}) {
    const path = "v1/presence/query" + (fields ? `?fields=${fields.map(encodeURIComponent).join(",")}` : "");
    return (await this.#json("POST", path, { uids: [...uids] })).items.map(marked);
  }

  /** The presences of all members of a list. */
  async list(name) {
    const found = [];
    let after = "";
    do {
      const page = await this.#json("GET", `v1/lists/${encodeURIComponent(name)}/presence?limit=${MAX_UIDS}${after}`);
      found.push(...page.items.map(marked));
      after = page.next == null ? "" : `&after=${encodeURIComponent(page.next)}`;
    } while (after);
    return found;
  }

  /** Watch users (an array of uids) or a list (`{list: "name"}`); `listener` is told of each change. */
  watch(who, listener = {}) {
    const list = Array.isArray(who) ? null : who.list;
    let feed = this.#feeds.get(list);
    if (!feed) {
      const name = `presence-ledger ${this.#url} ${this.#share} ${list === null ? "users" : `list ${list}`}`;
      feed = new Feed(this, list, this.#share === false ? null : name, this.#lostMs);
      this.#feeds.set(list, feed);
    }
    return feed.add(list === null ? who : null, typeof listener === "function" ? { change: listener } : listener);
  }

  /** End all watches. */
  close() {
    for (const feed of this.#feeds.values()) feed.close();
    this.#feeds.clear();
  }

  async #json(method, path, body) {
    for (let isFirst = true; ; isFirst = false) {
      const response = await this.open(path, { method, body });
      if (response.ok) return response.json();
      // What `token` gave has perhaps expired.
      if (!(isFirst && response.status === 401 && typeof this.#token === "function")) throw await problem(response);
    }
  }

  /** A request of the service, for feeds. */
  async open(path, { method = "GET", body, headers = {}, signal } = {}) {
    this.#given ??= typeof this.#token === "function" ? Promise.resolve(this.#token()) : this.#token;
    try {
      const token = await this.#given;
      const response = await fetch(new URL(path, this.#url), {
        method,
        signal,
        headers: {
          ...headers,
          ...(token ? { Authorization: `Bearer ${token}` } : {}),
          ...(body ? { "Content-Type": "application/json" } : {}),
        },
        body: body && JSON.stringify(body),
      });
      if (response.status === 401) this.#given = null;
      return response;
    } catch (error) {
      if (this.#given instanceof Promise) this.#given = null;
      if (signal?.aborted) throw error;
      throw new PresenceError(0, "no service answers", String(error?.message ?? error));
    }
  }

  /** Whether a new token may be had for one that is refused. */
  get renews() {
    return typeof this.#token === "function";
  }
}

function marked(presence) {
  return { ...presence, stale: presence.stale_since !== undefined };
}
