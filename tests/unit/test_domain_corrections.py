"""Folding what reconciliation did: corrections, sweeps and tiers change what their events say, and nothing else."""

from typing import Any

import pytest

from ledger.domain.events import SessionId, Status
from ledger.domain.evolve import evolve
from ledger.domain.observation import SECOND
from ledger.domain.presence import Cause, Device, Presence, Session
from ledger.domain.profile import Profile
from ledger.domain.reconciliation_events import Corrected, Located, OpenedSession, Swept, TierSet
from ledger.domain.sessions import REMEMBERED_CLOSED, ended_first
from tests.support.scenario import PAUSE_SECONDS, STARTED_AT, Scenario, Step, given, session

AT = 1_900_000_000 * SECOND
POSITION = 4711


def corrected(
    presence: Presence,
    status: Status,
    *,
    opened: tuple[OpenedSession, ...] = (),
    closed: tuple[SessionId, ...] = (),
    located: tuple[Located, ...] = (),
    source: str = "main",
) -> Presence:
    """The presence after a correction."""
    event = Corrected(
        source=source,
        node="n1",
        received_at=AT,
        rule="poll_devices",
        status_before=presence.status,
        status_after=status,
        run="r",
        poll="p",
        asked_at=AT - 1,
        drift="devices",
        opened=opened,
        closed=closed,
        located=located,
    )
    return evolve(presence, event, POSITION)


def swept(presence: Presence, *ended: SessionId, status: Status = "offline", node: str = "n1") -> Presence:
    """The presence after a sweep."""
    event = Swept(
        source="main",
        node=node,
        received_at=AT,
        rule="restart",
        status_before=presence.status,
        status_after=status,
        ended=ended,
        run="r",
        evidence=7,
    )
    return evolve(presence, event, POSITION)


def left(presence: Presence) -> list[SessionId]:
    return [session(s.conn_id, d.device_flag, d.scope) for d in presence.devices for s in d.sessions]


def nameless(flag: int | None = 0, scope: str = "") -> OpenedSession:
    return OpenedSession(scope, flag, None, "n1")


def test_a_correction_makes_somebody_online_who_was_never_observed() -> None:
    after = corrected(Presence("u"), "online", opened=(nameless(),))
    assert after.flip is not None
    assert (after.status, after.flip.since, after.flip.cause) == ("online", AT, Cause("correction", AT, POSITION))
    assert (after.version, after.position, after.last_seen_at, after.before) == (1, POSITION, AT, None)
    (device,) = after.devices
    (held,) = device.sessions
    assert (device.since, held.opened_at, held.seen_at, held.node) == (AT, AT, AT, "n1")


def test_a_correction_to_offline_remembers_the_online_period_and_the_connection() -> None:
    before = given("u-0-1-5-1-1").presence
    after = corrected(before, "offline", closed=(session(5),))
    assert left(after) == []
    assert (after.before, after.last_seen_at) == (before.flip, before.last_seen_at)
    (device,) = after.devices
    closing = device.closing(5)
    assert closing is not None
    assert (device.since, closing.at) == (AT, AT)


def test_a_correction_that_flips_nothing_keeps_the_flip() -> None:
    before = given("u-0-1-5-1-1").presence
    after = corrected(before, "online", opened=(nameless(1),))
    assert (after.flip, after.before) == (before.flip, before.before)
    assert left(after) == [session(5), session(None, 1)]


def test_a_nameless_session_that_is_closed_is_not_remembered() -> None:
    before = given("u-0-1-5-2-2").presence
    after = corrected(before, "online", closed=(session(None),))
    assert left(after) == [session(5)]
    assert after.devices[0].closed == ()


def test_only_so_many_closed_connections_are_remembered() -> None:
    presence = Presence("u")
    for conn_id in range(1, REMEMBERED_CLOSED + 2):
        presence = corrected(presence, "online", opened=(OpenedSession("", 0, conn_id, "n1"),))
        presence = corrected(presence, "offline", closed=(session(conn_id),))
    (device,) = presence.devices
    assert [closed.conn_id for closed in device.closed] == list(range(2, REMEMBERED_CLOSED + 2))
    assert device.forgotten is not None
    assert device.forgotten.conn_id == 1


def test_a_session_of_no_device_leaves_no_device_behind() -> None:
    before = given("u-0-1-5-1-2").presence
    after = corrected(before, "online", opened=(nameless(1),), closed=(session(None, None),))
    assert [device.device_flag for device in after.devices] == [0, 1]


def test_a_device_that_keeps_a_session_keeps_its_instant() -> None:
    before = given("u-0-1-5-1-1", "u-0-1-6-2-2").presence
    after = corrected(before, "online", closed=(session(6),))
    assert after.devices[0].since == before.devices[0].since


def test_a_session_is_located_once_and_seen_where_it_was_seen() -> None:
    before = given("u-0-1-5-1-1").presence
    after = corrected(before, "online", located=(Located(session(5), "n2"),))
    (held,) = after.devices[0].sessions
    assert (held.held_by, held.seen_at, after.last_seen_at) == ("n2", AT, AT)
    again = corrected(after, "online", located=(Located(session(5), "n2", seen=False),))
    assert again.devices[0].sessions == after.devices[0].sessions


def test_a_session_located_by_elimination_was_not_seen() -> None:
    before = given("u-0-1-5-1-1").presence
    after = corrected(before, "online", located=(Located(session(5), "n2", seen=False),))
    (held,) = after.devices[0].sessions
    assert (held.held_by, held.seen_at) == ("n2", before.devices[0].sessions[0].seen_at)
    assert after.last_seen_at == before.last_seen_at


def test_two_nameless_sessions_are_located_one_by_one() -> None:
    before = given("u-0-1-5-3-3").presence
    after = corrected(before, "online", located=(Located(session(None), "n1"), Located(session(None), "n1")))
    assert [held.held_by for held in after.devices[0].sessions] == [None, "n1", "n1"]


def test_another_source_is_left_alone() -> None:
    before = given("u-0-1-5-1-1", Step("u-0-1-5-1-1", source="other")).presence
    after = corrected(before, "online", closed=(session(5),), source="other")
    assert [(device.source, len(device.sessions)) for device in after.devices] == [("main", 1), ("other", 0)]
    ended = swept(before, session(5), status="online")
    assert [(device.source, len(device.sessions)) for device in ended.devices] == [("main", 0), ("other", 1)]


def test_a_sweep_ends_what_it_names_and_forgets_the_connids_of_before() -> None:
    before = given("u-0-1-4-1-1", "u-0-0-4-0-0", "u-0-1-5-1-1", "u-1-1-6-1-2").presence
    after = swept(before, session(5), session(6, 1))
    assert (after.status, left(after), after.last_seen_at) == ("offline", [], before.last_seen_at)
    assert after.flip is not None
    assert after.flip.cause == Cause("sweep", AT, POSITION)
    assert [(device.closed, device.forgotten, device.emptied, device.since) for device in after.devices] == [
        ((), None, None, AT),
        ((), None, None, AT),
    ]


def test_after_a_sweep_the_same_connid_is_a_new_connection_at_once() -> None:
    scenario = given("u-0-1-5-1-1")
    scenario.presence, scenario.at = swept(scenario.presence, session(5)), AT
    scenario.when(Step("u-0-1-5-1-1", after=0.1)).then("opened", "online_new", "online")


def test_a_sweep_of_a_node_of_v3_is_about_that_node() -> None:
    before = given("u-0-1-5-1-1", Step("u-0-1-4-1-1", node="n2"), Step("u-0-0-4-0-0", node="n2"), profile=Profile.V3)
    after = swept(before.presence, session(5, scope="n1"))
    by_scope = {device.scope: device for device in after.devices}
    assert by_scope["n1"].sessions == ()
    assert by_scope["n2"].closing(4) is not None


def test_of_two_sessions_that_look_alike_a_sweep_ends_that_of_its_node() -> None:
    """Two nodes use the same connId."""
    before = corrected(given("u-0-1-5-1-1").presence, "online", opened=(OpenedSession("", 0, 5, "n2", "n2"),))
    before = corrected(before, "online", located=(Located(session(5), "n1"),))
    assert [held.held_by for held in before.devices[0].sessions] == ["n1", "n2"]
    assert [held.held_by for held in swept(before, session(5), status="online", node="n2").devices[0].sessions] == [
        "n1"
    ]
    assert [held.held_by for held in swept(before, session(5), status="online", node="n1").devices[0].sessions] == [
        "n2"
    ]


def test_of_two_nameless_sessions_the_older_ends_first() -> None:
    before = corrected(given("u-0-1-5-2-2").presence, "online", opened=(nameless(),))
    after = swept(before, session(None), status="online")
    assert [(held.conn_id, held.seen_at) for held in after.devices[0].sessions] == [
        (5, STARTED_AT + round(PAUSE_SECONDS * SECOND)),
        (None, AT),
    ]


def test_of_sessions_that_one_count_proved_a_sweep_ends_as_many_as_it_names() -> None:
    # They are one value, three times.
    told = Session(None, "n1", 1, 1)
    presence = Presence("u", 1, devices=(Device("main", "", 0, 1, (told,) * 3),))
    assert left(swept(presence, SessionId("", 0, None), status="online")) == [SessionId("", 0, None)] * 2


def test_nothing_looks_like_a_session_that_is_not_there() -> None:
    assert ended_first((), None, "n1") is None
    before = given("u-0-1-5-1-1").presence
    assert left(swept(before, session(9), status="online")) == [session(5)]


@pytest.mark.parametrize("status", ["online", "offline"])
def test_a_tier_changes_the_tier_alone(status: str) -> None:
    history: Scenario = given("u-0-1-5-1-1") if status == "online" else given("u-0-1-5-1-1", "u-0-0-5-0-0")
    before = history.presence
    event = TierSet(received_at=AT, tier="vip", by="key", status_before=before.status, status_after=before.status)
    after = evolve(before, event, POSITION)
    assert (after.tier, after.version, after.position) == ("vip", before.version + 1, POSITION)
    kept: dict[str, Any] = {name: getattr(before, name) for name in ("flip", "before", "devices", "last_seen_at")}
    assert {name: getattr(after, name) for name in kept} == kept


def test_a_tier_outlives_what_comes_after_it() -> None:
    tiered = evolve(
        Presence("u"), TierSet(received_at=AT, tier="cold", by="k", status_before="unknown", status_after="unknown"), 1
    )
    online = corrected(tiered, "online", opened=(nameless(),))
    assert (online.tier, swept(online, session(None)).tier) == ("cold", "cold")


def test_a_webhook_names_a_session_of_no_node_that_a_poll_told_of() -> None:
    """In a cluster that counts node by node the poll did not tell where it is."""
    scenario = given(profile=Profile.V3)
    scenario.presence = corrected(scenario.presence, "online", opened=(nameless(),))
    scenario.when(Step("u-0-1-5-1-1", node="n2")).then("opened", "online_new", "online")
    assert scenario.events[-1].placed
    scenario.left(session(5, scope="n2"))
    scenario.when(Step("u-0-1-6-1-1", node="n1")).then("opened", "online_new", "online")
    assert not scenario.events[-1].placed


def test_a_webhook_of_another_device_places_nothing() -> None:
    scenario = given(profile=Profile.V3)
    scenario.presence = corrected(scenario.presence, "online", opened=(nameless(1),))
    scenario.when(Step("u-0-1-5-1-1", node="n2")).then("opened", "online_new", "online")
    assert not scenario.events[-1].placed
    scenario.left(session(None, 1), session(5, scope="n2"))
