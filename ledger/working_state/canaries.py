"""The canaries, who were canaries when, and how their last visits went: the one place that knows the tables.

Their users are in no count, no list and no stream of everybody; whoever counts or lists asks `uids` or `among`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, LiteralString, NamedTuple, TypeAlias

from psycopg import Connection, Cursor
from psycopg.rows import TupleRow

from ledger.domain.observation import Instant
from ledger.store.arrays import texts

MAX_ERROR_CHARACTERS = 500

Outcome: TypeAlias = Literal["seen", "lost", "not_shown", "refused", "unreachable", "broken"]
"""`seen`: both webhooks came, and a stream told of it. `broken`: the connection ended, or is none of WuKongIM's."""

IS_CANARY: LiteralString = "EXISTS (SELECT FROM canaries WHERE canaries.uid = {})"
"""Of a column with a uid: whether the user is a canary."""

UIDS: LiteralString = "SELECT DISTINCT uid FROM canaries"
EVER: LiteralString = "SELECT DISTINCT uid FROM canary_times"
"""Of those who are canaries, or were once."""

_AMONG: LiteralString = "SELECT DISTINCT uid FROM canaries WHERE uid = ANY(%b)"

_TIMES: LiteralString = "SELECT uid, after, coalesce(up_to, 9223372036854775807) FROM canary_times"

_READ: LiteralString = """
SELECT uid, source, node, since, every_seconds, visits, lost, last_visit_at, last_success_at, failing_since,
       last_error_at, last_error, outcome, webhook_seconds, commit_seconds, stream_seconds
  FROM canaries
"""

_BEGIN: LiteralString = """
INSERT INTO canaries (uid, source, node, since, every_seconds) VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (uid, source, node) DO UPDATE
   SET every_seconds = excluded.every_seconds,
       since = CASE WHEN canaries.last_success_at IS NULL OR canaries.failing_since IS NOT NULL
                    THEN canaries.since ELSE excluded.since END
"""
_END_OTHERS: LiteralString = """
DELETE FROM canaries
 WHERE (uid, source, node) NOT IN (SELECT * FROM unnest(%b::text[], %b::text[], %b::text[]))
"""

_HEAD: LiteralString = "coalesce((SELECT position FROM last_event()), 0)"
_END_TIMES: LiteralString = f"""
UPDATE canary_times SET up_to = {_HEAD} WHERE up_to IS NULL AND uid NOT IN ({UIDS})
"""  # noqa: S608  (of constants)
_BEGIN_TIMES: LiteralString = f"""
INSERT INTO canary_times (uid, after)
SELECT uid, {_HEAD} FROM ({UIDS}) AS now
 WHERE NOT EXISTS (SELECT FROM canary_times AS its WHERE its.uid = now.uid AND its.up_to IS NULL)
    ON CONFLICT (uid, after) DO UPDATE SET up_to = NULL
"""  # noqa: S608  (of constants)

_NOTE: LiteralString = """
UPDATE canaries
   SET visits = visits + 1, lost = lost + %(lost)s, last_visit_at = %(at)s, outcome = %(outcome)s,
       last_success_at = CASE WHEN %(error)s::text IS NULL THEN %(at)s ELSE last_success_at END,
       failing_since = CASE WHEN %(error)s::text IS NOT NULL THEN coalesce(failing_since, %(at)s) END,
       last_error_at = CASE WHEN %(error)s::text IS NULL THEN last_error_at ELSE %(at)s END,
       last_error = coalesce(%(error)s, last_error),
       webhook_seconds = coalesce(%(webhook)s, webhook_seconds),
       commit_seconds = coalesce(%(commit)s, commit_seconds),
       stream_seconds = CASE WHEN %(commit)s::float8 IS NULL THEN stream_seconds ELSE %(stream)s END
 WHERE uid = %(uid)s AND source = %(source)s AND node = %(node)s
"""


class CanaryTime(NamedTuple):
    """A user was a canary: their events after one position and up to another are a canary's."""

    after: int
    up_to: int

    def holds(self, position: int) -> bool:
        """Whether the event there is one of these."""
        return self.after < position <= self.up_to


class CanaryKey(NamedTuple):
    """Who comes to which node."""

    uid: str
    source: str
    node: str


class CanaryRow(NamedTuple):
    """A canary as it stands. `since` is when an instance took it up, of one that fails the first that it fails under;
    seconds are of the last online.
    """

    uid: str
    source: str
    node: str
    since: Instant
    every_seconds: float
    visits: int
    lost: int
    """Webhooks, of onlines and offlines, that have not come."""
    last_visit_at: Instant | None
    last_success_at: Instant | None
    failing_since: Instant | None
    """The first visit that failed since the last success; None: the last one succeeded."""
    last_error_at: Instant | None
    last_error: str | None
    outcome: Outcome | None
    webhook_seconds: float | None
    commit_seconds: float | None
    stream_seconds: float | None

    @property
    def quiet_since(self) -> Instant:
        """The last moment from which on no visit succeeded: of a success, or of when it was taken up."""
        return self.since if self.last_success_at is None else max(self.since, self.last_success_at)


class Noted(NamedTuple):
    """What a visit came to: `error` in words where it failed; seconds of its online as far as they are known."""

    at: Instant
    outcome: Outcome
    lost: int
    error: str | None
    webhook_seconds: float | None
    commit_seconds: float | None
    stream_seconds: float | None


def begin(cursor: Cursor[Any], wanted: Sequence[tuple[CanaryKey, float]], now: Instant) -> None:
    """From now on these are the canaries, with the seconds between their visits, and nobody else is.

    Whoever takes up one that has failed until now does not begin anew: it would never be late where leaders change.
    """
    keys = [key for key, _ in wanted]
    columns = [texts([key[place] for key in keys]) for place in range(3)]
    cursor.execute(_END_OTHERS, columns)
    for key, every_seconds in wanted:
        cursor.execute(_BEGIN, (*key, now, every_seconds))
    cursor.execute(_END_TIMES)
    cursor.execute(_BEGIN_TIMES)


def note(cursor: Cursor[Any], key: CanaryKey, noted: Noted) -> None:
    """A visit is over."""
    error = None if noted.error is None else noted.error[:MAX_ERROR_CHARACTERS]
    cursor.execute(
        _NOTE,
        {
            "uid": key.uid,
            "source": key.source,
            "node": key.node,
            "at": noted.at,
            "outcome": noted.outcome,
            "lost": noted.lost,
            "error": error,
            "webhook": noted.webhook_seconds,
            "commit": noted.commit_seconds,
            "stream": noted.stream_seconds,
        },
    )


def read(connection: Connection[TupleRow], source: str | None = None) -> list[CanaryRow]:
    """All canaries, or those of a source, by source and node."""
    where: LiteralString = "" if source is None else " WHERE source = %(source)s"
    return [CanaryRow(*row) for row in connection.execute(_READ + where + " ORDER BY source, node", {"source": source})]


def uids(connection: Connection[TupleRow]) -> frozenset[str]:
    """The users whom no count, no list and no stream of everybody tells of."""
    return frozenset(uid for (uid,) in connection.execute(UIDS))


def among(connection: Connection[TupleRow], asked: Iterable[str]) -> set[str]:
    """Those of these users who are canaries."""
    wanted = sorted(asked)
    return {uid for (uid,) in connection.execute(_AMONG, (texts(wanted),))} if wanted else set()


def times(connection: Connection[TupleRow]) -> Mapping[str, Sequence[CanaryTime]]:
    """When users were canaries, by uid: few, however many users there are."""
    found: defaultdict[str, list[CanaryTime]] = defaultdict(list)
    for uid, after, up_to in connection.execute(_TIMES):
        found[uid].append(CanaryTime(after, up_to))
    return found
