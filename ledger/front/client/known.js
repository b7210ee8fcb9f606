/** What is known of users, kept right by a stream: only what is later is applied. */

export class Known {
  /** Whether what is known is what the service would answer. */
  live = false;
  #held = new Map();
  #doubted = new Set(); // of these something from before is held that a snapshot has still to confirm
  #epoch = null;

  get uids() {
    return [...this.#held.keys()];
  }

  get epoch() {
    return this.#epoch;
  }

  has(uid) {
    return this.#held.has(uid);
  }

  /** What is known of a user, marked where it is stale. */
  get(uid) {
    const found = this.#held.get(uid);
    return found && { ...found, stale: !this.live || this.#doubted.has(uid) };
  }

  /** The same where it is what the service would answer. */
  right(uid) {
    return this.live && !this.#doubted.has(uid) ? this.get(uid) : undefined;
  }

  /** What other pages are told of these users. */
  handOn(uids) {
    return uids.filter((uid) => this.#held.has(uid) && !this.#doubted.has(uid)).map((uid) => this.#held.get(uid));
  }

  /** A stream begins; unless it has recovered, what follows takes the place of all that was known. */
  begin(epoch, recovered) {
    this.#epoch = epoch;
    if (!recovered) this.#doubted = new Set(this.#held.keys());
  }

  /**
   * Take a presence; returns whether it is news. Order is that of epoch, position and instant: a stream is of one epoch,
   * and so is the answer about a user who is added to it.
   */
  take(presence) {
    const { uid, as_of: made } = presence;
    const then = this.#doubted.has(uid) ? undefined : this.#held.get(uid)?.as_of;
    if (then && (then.epoch ?? this.#epoch) === (made.epoch ?? this.#epoch)) {
      if (made.position < then.position || (made.position === then.position && made.at <= then.at)) return false;
    }
    this.#doubted.delete(uid);
    this.#held.set(uid, presence);
    return true;
  }

  /** All has been told; returns those of whom nothing was, who are not on the list any more. */
  confirm() {
    const gone = [...this.#doubted];
    for (const uid of gone) this.forget(uid);
    return gone;
  }

  forget(uid) {
    this.#doubted.delete(uid);
    return this.#held.delete(uid);
  }
}
