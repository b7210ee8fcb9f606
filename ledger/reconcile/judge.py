"""One answer about many users: each is judged, and what is new becomes events, the poll's own first.

The live reconciler and the replay of a recording both run these functions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import replace as _replace

from ledger.domain.breaker import Breaker
from ledger.domain.connections import against_connections
from ledger.domain.drift import Connection, Difference, Poll, against_rows, held_in
from ledger.domain.look import JudgedLook, Watch, effective_tier, is_overdue, judge_look
from ledger.domain.observation import SECOND
from ledger.domain.policy import Policy
from ledger.domain.presence import Presence
from ledger.domain.reconciliation_events import BreakerOpened, PollObserved, RunCounts
from ledger.domain.source import SourceState
from ledger.ingest.draft import Draft
from ledger.store.mapper import Recorded

PresenceOf = Callable[[str], Presence]

T = TypeVar("T")


class Look(NamedTuple):
    """A user with what the answer found."""

    uid: str
    presence: Presence
    watch: Watch
    difference: Difference


class Verdicts(NamedTuple):
    """What an answer comes to: judged looks in order."""

    judged: list[tuple[str, JudgedLook]]

    @property
    def news(self) -> list[tuple[str, JudgedLook]]:
        """Those that leave an event."""
        return [(uid, judged) for uid, judged in self.judged if judged.finding is not None or judged.event is not None]

    @property
    def agreed(self) -> int:
        """How many users the answer agreed about."""
        return sum(judged.agreed for _, judged in self.judged)

    @property
    def contradicted(self) -> int:
        """How many connections the nodes list though an offline has closed them."""
        return sum(judged.contradicted for _, judged in self.judged)

    @property
    def waits_for_connections(self) -> bool:
        """Whether only `/connz` tells of some of the users whom we hold online."""
        return any(judged.waits for _, judged in self.judged)

    def watches(self) -> dict[str, Watch]:
        """When each is to be looked at again."""
        return {uid: judged.watch for uid, judged in self.judged}


def looks_at_rows(
    presence_of: PresenceOf,
    source: SourceState,
    node: str,
    watches: Mapping[str, Watch],
    rows: Mapping[str, Mapping[int, int]],
) -> list[Look]:
    """What an answer of `/user/onlinestatus` found of each user in `watches`; who has no row is said to be offline."""
    looks = []
    for uid, watch in watches.items():
        presence = presence_of(uid)
        looks.append(Look(uid, presence, watch, against_rows(presence, source, node, rows.get(uid, {}))))
    return looks


def looks_at_connections(
    presence_of: PresenceOf,
    source: SourceState,
    watches: Mapping[str, Watch],
    connections: Mapping[str, Sequence[Connection]],
    silent: str | None,
) -> list[Look]:
    """What the union of all nodes' `/connz` found of each user in `watches`; `silent`: the one that did not answer."""
    locate = not source.holders_known and (silent is not None or source.lost_node_at is not None)
    looks = []
    for uid, watch in watches.items():
        presence = presence_of(uid)
        found = connections.get(uid, ())
        difference = against_connections(presence, source, found, locate=locate, silent=silent)
        looks.append(Look(uid, presence, watch, difference))
    return looks


def count_missing(source: SourceState, poll: Poll, looks: Sequence[Look]) -> tuple[int, int]:
    """-> (online users looked at for the first time, of them said to be offline), for the breaker"""
    looked = missing = 0
    for look in looks:
        is_overtaken = look.presence.evident_position > poll.head
        if look.presence.status != "online" or is_overtaken or look.watch.doubt is not None:
            continue
        held = held_in(look.presence, source.name)
        if held:
            looked += 1
            unproven = len(look.difference.gone) - len(look.difference.proven)
            missing += len(look.difference.gone) == len(held) and unproven > 0 and not look.difference.opened
    return looked, missing


def count_strangers(source: SourceState, poll: Poll, looks: Sequence[Look]) -> tuple[int, int]:
    """-> (users whom a webhook named as online, looked at for the first time since; of them not found at all)"""
    looked = absent = 0
    for look in looks:
        flip = look.presence.flip
        if flip is None or flip.status != "online" or flip.cause.kind != "webhook" or look.watch.doubt is not None:
            continue
        held = held_in(look.presence, source.name)
        if held and look.presence.evident_position <= poll.head:
            looked += 1
            absent += len(look.difference.gone) == len(held) and not look.difference.proven
    return looked, absent


def doubted_for(poll: Poll, looks: Sequence[Look], policy: Policy) -> float | None:
    """Seconds since the first look that missed those users whose correction is not held, as far as the breaker looks
    back; None: there are none."""
    doubts = [look.watch.doubt for look in looks if look.watch.doubt is not None]
    ages = [(poll.answered_at - doubt.disagreed_at) / SECOND for doubt in doubts if not doubt.held]
    return max((age for age in ages if age < policy.breaker_seconds), default=None)


def open_breaker(
    breaker: Breaker, source: SourceState, poll: Poll, looks: Sequence[Look], seconds: float
) -> BreakerOpened | None:
    """Count what an answer says of online users -> the breaker's opening, if they are too many and it is not open.

    `seconds` is of a clock that only goes forward.
    """
    policy = source.policy
    breaker.note(seconds, *count_missing(source, poll, looks), policy)
    tripped = breaker.trips(seconds, policy, doubted_for(poll, looks, policy))
    if tripped is None or source.breaker_until is not None:
        return None
    looked, missing, window = tripped
    until = poll.answered_at + round(policy.breaker_hold_seconds * SECOND)
    return BreakerOpened(at=poll.answered_at, looked=looked, missing=missing, window_seconds=window, until=until)


def second_look_sample(
    breaker: Breaker, policy: Policy, seconds: float, watches: Iterable[Watch], online: Callable[[int], Sequence[T]]
) -> Sequence[T]:
    """Users to be asked about together with second looks at ghosts, so many that a lie of the query API would show.

    `online` gives so many online users who are next in turn; nobody where too few are online.
    """
    wanted = breaker.sample_wanted(seconds, policy)
    if not wanted or all(watch.doubt is None or watch.doubt.drift != "ghost" for watch in watches):
        return ()
    found = online(max(wanted, policy.breaker_minimum))
    return found[:wanted] if len(found) >= policy.breaker_minimum else ()


def judge_all(source: SourceState, poll: Poll, looks: Sequence[Look], *, holding: bool) -> Verdicts:
    """Judge each user's look."""
    judged = []
    for look in looks:
        verdict = judge_look(look.presence, source, poll, look.difference, look.watch, holding)
        tier = effective_tier(look.presence, source, poll.asked_at)
        verdict = verdict._replace(
            contradicted=look.difference.contradicted,
            tier=tier,
            overdue=is_overdue(look.watch, tier, source.policy, poll.asked_at),
        )
        judged.append((look.uid, verdict))
    return Verdicts(judged)


def record(
    draft: Draft, source: str, poll: Poll, asked: int, verdicts: Verdicts, rows: Mapping[str, str], agreed: int
) -> Iterator[Recorded]:
    """The events of an answer: none where it said nothing new. The watches it changes are in `verdicts.judged`.

    `asked` and `agreed` count users that `verdicts` leaves out, too.
    """
    news = verdicts.news
    if not news:
        return
    yield draft.append_to_source(
        source,
        PollObserved(
            poll=poll.poll,
            run=poll.run,
            node=poll.node,
            route=poll.route,
            asked_at=poll.asked_at,
            answered_at=poll.answered_at,
            head=poll.head,
            asked=asked,
            agreed=agreed,
            findings=tuple(judged.finding for _, judged in news if judged.finding is not None),
            rows={uid: rows[uid] for uid, _ in news if uid in rows},
        ),
    )
    for number, (uid, judged) in enumerate(verdicts.judged):
        if judged.event is not None:
            yield draft.append_to_user(uid, judged.event)
            verdicts.judged[number] = (uid, _with_doubt_at(judged, draft.head))


def _with_doubt_at(judged: JudgedLook, head: int) -> JudgedLook:
    """Where a correction leaves a doubt, the correction itself does not end it."""
    doubt = judged.watch.doubt
    if doubt is None:
        return judged
    return judged._replace(watch=_replace(judged.watch, doubt=_replace(doubt, head=head)))


def rows_text(rows: Mapping[str, Mapping[int, int]], uids: Sequence[str]) -> dict[str, str]:
    """What an answer said of users, as the poll's event keeps it."""
    return {uid: " ".join(f"{flag}:{number}" for flag, number in sorted(rows.get(uid, {}).items())) for uid in uids}


def connections_text(connections: Mapping[str, Sequence[Connection]], uids: Sequence[str]) -> dict[str, str]:
    """The same of `/connz`: `node/connId:flag@began` for each, without the flag where the label does not tell it, and
    without the second of its begin where the uptime does not."""
    return {uid: " ".join(map(_connection_text, connections.get(uid, ()))) for uid in uids}


def _connection_text(connection: Connection) -> str:
    flag = "" if connection.device_flag is None else f":{connection.device_flag}"
    began = "" if connection.began_at is None else f"@{connection.began_at // SECOND}"
    return f"{connection.node}/{connection.conn_id}{flag}{began}"


def read_rows(text: str) -> dict[int, int]:
    """Connections by device flag, from what a poll's event keeps of a user."""
    pairs = (pair.split(":") for pair in text.split())
    return {int(flag): int(number) for flag, number in pairs}


def read_connections(text: str) -> list[Connection]:
    """The same of a user's connections."""
    found = []
    for each in text.split():
        rest, _, began = each.partition("@")
        node, _, rest = rest.partition("/")
        conn_id, _, flag = rest.partition(":")
        began_at = int(began) * SECOND if began else None
        found.append(Connection(node, int(conn_id), int(flag) if flag else None, began_at))
    return found


def counted(counts: RunCounts, verdicts: Verdicts) -> RunCounts:
    """A run's counts after one more answered poll."""
    outcomes = [judged.finding.outcome for _, judged in verdicts.judged if judged.finding is not None]
    return _replace(
        counts,
        polls=counts.polls + 1,
        looked=counts.looked + len(verdicts.judged),
        agreed=counts.agreed + verdicts.agreed,
        drifted=counts.drifted + sum(_is_new_drift(judged) for _, judged in verdicts.judged),
        corrected=counts.corrected + outcomes.count("corrected"),
        cleared=counts.cleared + outcomes.count("cleared"),
        in_flight=counts.in_flight + outcomes.count("in_flight"),
        held=counts.held + outcomes.count("held"),
    )


def _is_new_drift(judged: JudgedLook) -> bool:
    """Whether this look is the first that found it: its correction may come with a later one."""
    if judged.watch.doubt is not None:
        return judged.finding is not None and judged.watch.doubt.looks == 1
    return judged.event is not None and judged.event.drift is not None and judged.event.looks == 1
