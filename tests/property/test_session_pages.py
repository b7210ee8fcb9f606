"""Pages of sessions, of which the table has lost those that ended early: the same as of a table that has all."""

from collections.abc import Sequence
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.domain.event_types import UserEvent
from projections.models.session_bounds import SessionRow
from projections.models.session_pages import EndedSessions, Place, SessionQuery, merged, needs_events
from projections.models.session_rows import UserSessions
from tests.support.lived import lived

UserEvents = Sequence[tuple[int, UserEvent]]


def of_user(seed: int, steps: int) -> tuple[str, UserEvents]:
    """The user of whom a life tells most, and their events."""
    events: dict[str, list[tuple[int, UserEvent]]] = {"nobody": []}
    for each in lived(seed, steps).ledger.kept:
        if each.uid is not None and isinstance(each.event, UserEvent):
            events.setdefault(each.uid, []).append((each.position, each.event))
    return max(events.items(), key=lambda item: len(item[1]))


def all_rows(uid: str, events: UserEvents) -> list[SessionRow]:
    """In a table from which nothing was removed."""
    user, rows = UserSessions(uid), dict[Place, SessionRow]()
    for position, event in events:
        rows |= {(row.position, row.ordinal): row for row in user.take(event, position)}
    return [replace(rows[place]) for place in sorted(rows)]


def page_of(rows: Sequence[SessionRow], wanted: SessionQuery) -> list[SessionRow]:
    """As the table's query makes it."""
    found = [
        row
        for row in (reversed(rows) if wanted.descending else rows)
        if wanted.open in (None, row.ended_at is None) and wanted.source in (None, row.source)
        if row.ended_position is None or row.ended_position > wanted.since
    ]
    if wanted.after is not None:
        after = wanted.after
        found = [row for row in found if ((row.position, row.ordinal) < after) == wanted.descending]
        found = [row for row in found if (row.position, row.ordinal) != after]
    return found[: wanted.limit]


def made_of(uid: str, events: UserEvents, wanted: SessionQuery, trimmed: int, read: int) -> list[SessionRow]:
    """Of the events alone, so many read at once, as long as one may change the page."""
    made = EndedSessions(uid, wanted)
    early = [each for each in events if each[0] < trimmed]
    for first in range(0, len(early), read):
        for position, event in early[first : first + read]:
            made.take(event, position)
        if made.is_complete(early[min(first + read, len(early)) - 1][0]):
            break
    return list(made.rows())


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    share=st.floats(0, 1),
    limit=st.integers(1, 7),
    descending=st.booleans(),
    is_open=st.sampled_from((None, None, True, False)),
    source=st.sampled_from((None, None, "main", "elsewhere")),
    read=st.integers(1, 5),
    since=st.sampled_from((0, 0, 9, 40)),
)
def test_pages_are_those_of_a_table_that_has_all(
    seed: int,
    share: float,
    limit: int,
    descending: bool,
    is_open: bool | None,
    source: str | None,
    read: int,
    since: int,
) -> None:
    uid, events = of_user(seed, 120)
    rows = all_rows(uid, events)
    trimmed = int(share * (events[-1][0] + 2)) if events else 5
    kept = [row for row in rows if row.ended_position is None or row.ended_position >= trimmed]
    after: Place | None = None
    for _ in count():
        wanted = SessionQuery(after, limit, descending, is_open, source, since)
        found: Sequence[SessionRow] = page_of(kept, wanted)
        if needs_events(wanted, found, trimmed):
            found = merged(wanted, found, made_of(uid, events, wanted, trimmed, read))
        assert list(found) == page_of(rows, wanted)
        if len(found) < limit:
            break
        after = (found[-1].position, found[-1].ordinal)


def test_no_event_is_read_where_the_table_has_the_page() -> None:
    uid, events = of_user(7, 300)
    rows = all_rows(uid, events)
    trimmed = rows[len(rows) // 2].position
    late = [row for row in rows if row.position >= trimmed]
    newest = SessionQuery(None, 2, descending=True)
    assert not needs_events(newest, page_of(rows, newest), trimmed)
    assert not needs_events(SessionQuery((trimmed, 0), 50), late, trimmed)
    assert not needs_events(SessionQuery(None, 50, open=True), [], trimmed)
    assert not needs_events(SessionQuery(None, 50, since=trimmed - 1), [], trimmed)
    assert needs_events(SessionQuery(None, 50, since=trimmed - 2), [], trimmed)
    assert needs_events(SessionQuery((trimmed - 1, 0), 50), late, trimmed)
    assert needs_events(SessionQuery(None, 500, descending=True), rows, trimmed)


def test_reading_ends_when_the_page_is_whole() -> None:
    uid, events = of_user(7, 300)
    ended = [row for row in all_rows(uid, events) if row.ended_position is not None]
    ascending, descending = EndedSessions(uid, SessionQuery(None, 1)), None
    places = []
    for position, event in events:
        ascending.take(event, position)
        if ascending.is_complete(position):
            places.append(position)
    assert places
    assert places[0] < events[-1][0]
    assert ascending.rows() == ended[:1]
    after = ended[2].position, ended[2].ordinal
    descending = EndedSessions(uid, SessionQuery(after, 50, descending=True))
    assert not descending.is_complete(events[0][0])
    for position, event in events:
        descending.take(event, position)
        if descending.is_complete(position):
            break
    assert position < events[-1][0]
