/** Types of presence-ledger.js, the browser's client of presence ledger. */

export type Status = "online" | "offline" | "unknown";

/** An RFC 3339 timestamp in UTC with six digits after the second. */
export type Timestamp = string;

export interface Device {
  source: string;
  /** null where only a total reports a session. */
  device_flag: number | null;
  device: "app" | "web" | "desktop" | "system" | "custom" | "unknown";
  status: Status;
  since: Timestamp;
  sessions: number;
}

export interface Presence {
  uid: string;
  status: Status;
  since: Timestamp | null;
  last_seen_at: Timestamp | null;
  devices: Device[];
  cause: { kind: string; at: Timestamp; position: number } | null;
  /** Why an `unknown` is one. */
  reason: "never_observed" | "node_down" | "source_dark" | "store_unavailable" | null;
  verified_at: Timestamp | null;
  version: number;
  as_of: { at: Timestamp; position: number; epoch?: string };
  /** What was shown before, where a stream told of a change. */
  previous?: { status: Status; since: Timestamp | null };
  /** There while the service's PostgreSQL is away: nothing later than this is known. */
  stale_since?: Timestamp;
  /** It was right once, and since then the stream has been away, or the service's PostgreSQL. */
  stale: boolean;
}

export type Field = Exclude<keyof Presence, "as_of" | "previous" | "stale" | "stale_since" | "uid">;

/** What a query of some fields answers. */
export type Part<F extends Field> = Pick<Presence, F | "as_of" | "stale" | "stale_since" | "uid">;

export interface Options {
  /** Where `front_listen` is; by default where the module came from. */
  url?: string | URL;
  /** A stream token, or what gets one: it is called again when the last one has expired. An API key is for servers. */
  token?: string | (() => string | Promise<string>) | null;
  /** Pages of an origin that name the same share one stream: name the user who is logged in. false: none is shared. */
  share?: string | false;
  /** After so many seconds without a word of the page that reads the stream, another one reads it (150). */
  lostSeconds?: number;
}

export interface Listener {
  /** Each user's presence as it is at first, and each that is another. */
  change?(presence: Presence): void;
  /** A user who left the list. */
  gone?(uid: string): void;
  /** The stream is away, so that what is known may be out of date; or it is there again. */
  state?(state: { stale: boolean }): void;
  /** They cannot be watched; the watch is over. */
  error?(error: PresenceError): void;
}

export interface Watch {
  /** Fulfilled once all are known and right; rejected where they cannot be watched. */
  readonly ready: Promise<Watch>;
  readonly stale: boolean;
  readonly presences: Presence[];
  get(uid: string): Presence | undefined;
  close(): void;
}

/** An error that the service answered (RFC 9457); `status` 0: no service answers. */
export class PresenceError extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly errors: { field: string; detail: string }[];
}

export class PresenceLedger {
  constructor(options?: Options);
  /** One user's presence; of a user who is watched, and while the stream is there, without asking. */
  get(uid: string): Promise<Presence>;
  /** The presences of up to 10,000 users in the order asked; with `fields` a shorter answer. */
  query(uids: Iterable<string>): Promise<Presence[]>;
  query<F extends Field>(uids: Iterable<string>, options: { fields: F[] }): Promise<Part<F>[]>;
  /** The presences of all members of a list. */
  list(name: string): Promise<Presence[]>;
  /** Watch users, up to 10,000 together, or a list. A function is told of each change. */
  watch(who: string[] | { list: string }, listener?: Listener | ((presence: Presence) => void)): Watch;
  /** End all watches. */
  close(): void;
}
