/** What a page has of a watch: who is watched, what is known of them, and whom to tell. */

/** Some users or a list, kept right as long as it is open. */
export class Watch {
  constructor(feed, uids, listener) {
    Object.assign(this, { feed, uids: uids && new Set(uids), listener });
    this.ready = new Promise((resolve, reject) => Object.assign(this, { resolve, reject }));
    this.ready.catch(() => {}); // told to `listener.error` as well
  }

  /** Whether the stream is away, so that what is known may be out of date. */
  get stale() {
    return !this.feed.known.live;
  }

  /** What is known of a user, without asking. */
  get(uid) {
    return this.has(uid) ? this.feed.known.get(uid) : undefined;
  }

  /** What is known of all of them. */
  get presences() {
    return this.feed.known.uids.filter((uid) => this.has(uid)).map((uid) => this.feed.known.get(uid));
  }

  close() {
    this.feed.remove(this);
  }

  has(uid) {
    return !this.uids || this.uids.has(uid);
  }

  tell(what, ...said) {
    try {
      this.listener[what]?.(...said);
    } catch (error) {
      globalThis.reportError?.(error);
    }
  }

  settle() {
    if (this.settled || !this.feed.known.live) return;
    if ([...(this.uids ?? [])].every((uid) => this.feed.known.right(uid) !== undefined)) this.resolve((this.settled = this));
  }
}
