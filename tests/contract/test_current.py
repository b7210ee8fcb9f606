"""The inline projection `current`: rows in parts, any uid, the newest state."""

import psycopg
import pytest
from msgspec.structs import replace

from ledger.domain.evolve import evolve
from ledger.domain.override import Override
from ledger.domain.presence import Presence
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import TierSet
from ledger.store.ledger import Ledger
from projections.models import current
from tests.support import pg
from tests.support.scenario import Step, given
from tests.support.strategies import Feed, Post

UIDS = ["a", "A", "用户", "😀", "a-b-0-1", " ", "\n", "'; DROP TABLE current; --", "%s", '"', "\\", "é" * 512]


def presences(*uids: str, conn_id: int = 1) -> list[Presence]:
    """Users who are online by one connection."""
    feed = Feed(Profile.V2_2)
    feed.post(Post(0.0, "main", "n1", tuple(f"{uid}-0-1-{conn_id}-1-1" for uid in uids)))
    return [feed.draft.presence(uid) for uid in uids]


def write(ledger: Ledger, found: list[Presence]) -> None:
    with ledger.events_recorder.commit() as commit:
        current.write(commit.cursor, list(current.to_rows(found)))


@pg.on_every_server
def test_any_uid_is_written_and_read(ledger: Ledger) -> None:
    found = presences(*UIDS)
    write(ledger, found)
    with ledger.connection() as connection:
        assert current.load(connection, [*UIDS, "nobody"]) == {each.uid: each for each in found}
        assert current.load(connection, []) == {}


def test_an_outline_has_what_it_does_not_leave_out(ledger: Ledger) -> None:
    lived = given("u-0-1-5-1-1", "u-0-0-5-0-0").presence
    chosen = TierSet(received_at=1, tier="vip", by="ops", status_before="offline", status_after="offline")
    lived = evolve(lived, chosen, 8)
    full = {
        "lived": replace(lived, uid="lived"),
        "evident": replace(lived, uid="evident", evident=7),
        "overridden": replace(lived, uid="overridden", override=Override("online", 3, 9, True, 8), evident=7),
        "never seen": Presence("never seen", 1),
    }
    write(ledger, list(full.values()))
    with ledger.connection() as connection:
        outlines = current.load_outlines(connection, [*full, "nobody"])
    assert outlines == {uid: replace(each, before=None, devices=(), override=None) for uid, each in full.items()}


def test_a_later_state_replaces_the_one_before(ledger: Ledger) -> None:
    write(ledger, presences("u", "v"))
    later = given("u-0-1-5-1-1", "u-0-0-5-0-0").presence
    write(ledger, [later])
    with ledger.connection() as connection:
        assert current.load(connection, ["u"]) == {"u": later}
        rows = connection.execute("SELECT uid, version, status FROM current ORDER BY uid").fetchall()
    assert rows == [("u", 2, "offline"), ("v", 1, "online")]


def test_a_user_of_whom_only_the_tier_is_known_is_unknown(ledger: Ledger) -> None:
    tier = TierSet(received_at=1, tier="vip", by="ops", status_before="unknown", status_after="unknown")
    presence = evolve(Presence("u"), tier, 1)
    write(ledger, [presence])
    with ledger.connection() as connection:
        assert current.load(connection, ["u"]) == {"u": presence}
        row = connection.execute("SELECT version, status, since, btrim(devices) FROM current").fetchone()
    assert (presence.tier, row) == ("vip", (1, "unknown", 0, ""))


def test_many_rows_go_in_parts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current, "MAX_STATEMENT_ROWS", 3)
    found = presences(*(f"u{n}" for n in range(8)))
    assert len(list(current.to_rows(found))) == 3
    write(ledger, found)
    with ledger.connection() as connection:
        assert len(current.load(connection, [each.uid for each in found])) == 8
    assert list(current.to_rows([])) == []


@pytest.mark.parametrize(
    ("uid", "can"), [("a", True), ("用", True), ("a\0", False), ("用\0", False), ("用\udc00", False)]
)
def test_which_uids_can_be_stored(uid: str, can: bool) -> None:
    assert current.can_be_stored(uid) is can


def test_devices_as_lists_look_for_them() -> None:
    presence = given("u-0-1-5-1-2", Step("u-1-1-6-1-3", node="n2"), "u-1-0-6-0-2").presence
    assert current.device_tokens(presence) == " main/0/on/n1 main//on/n1 main/1/off/ "


@pg.on_every_server
def test_people_read_it_through_a_view(ledger: Ledger, database_url: str) -> None:
    write(ledger, presences("u"))
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT uid, status, version, devices FROM current_presence").fetchone()
    assert row == ("u", "online", 1, " main/0/on/n1 ")
