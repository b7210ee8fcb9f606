"""A user's day as bars, the lines of the last day, the window that a page shows, and how times are written."""

from typing import Any

import pytest

from ledger.console import day
from ledger.console.day import Bar
from ledger.console.pages.drift import group
from ledger.console.pages.user import asked
from ledger.console.rendering import duration, instant, number
from ledger.console.series import hourly
from ledger.console.visit import PageRefused
from ledger.console.window import Window, micros, window
from ledger.domain.observation import SECOND
from tests.support.console import NOW

BEGIN = micros("2026-11-30T08:00:00Z")
WINDOW = Window(BEGIN, NOW, "1h", is_now=True)


def at(minute: float) -> str:
    """So many minutes after the window's begin."""
    whole, part = divmod(round(minute * 60), 3600)
    return f"2026-11-30T{8 + whole:02d}:{part // 60:02d}:{part % 60:02d}.000000Z"


def change(minute: float, before: str, after: str, kind: str = "transition") -> dict[str, Any]:
    return {"kind": kind, "at": at(minute), "status_before": before, "status_after": after}


def session(begin: float, end: float | None, **changed: Any) -> dict[str, Any]:
    began = {"at": at(begin), "after": None}
    ended = None if end is None else {"at": at(end), "after": None}
    return {"source": "main", "device_flag": 0, "device": "app", "began": began, "ended": ended, **changed}


def drawn(bars: list[Bar]) -> list[tuple[str, float, float]]:
    return [(bar.kind, bar.x, bar.width) for bar in bars]


def test_the_status_is_what_each_entry_left() -> None:
    entries = [
        change(15, "offline", "online"),
        change(20, "online", "online", "sessions"),
        {"kind": "duplicate", "at": at(21), "status_before": "online", "status_after": "online"},
        change(30, "online", "offline", "correction"),
    ]
    bars = day.status_bars(WINDOW, entries, "unknown", is_whole=True)
    assert drawn(bars) == [("offline", 0, 25.0), ("online", 25.0, 25.0), ("offline", 50.0, 50.0)]


def test_without_an_entry_it_is_what_is_shown() -> None:
    assert drawn(day.status_bars(WINDOW, [], "online", is_whole=True)) == [("online", 0, 100)]


def test_what_was_not_read_is_not_drawn() -> None:
    bars = day.status_bars(WINDOW, [change(30, "offline", "online")], "online", is_whole=False)
    assert drawn(bars) == [("untold", 0, 50.0), ("offline", 50.0, 0.2), ("online", 50.0, 50.0)]


def test_doubt_and_drift_are_laid_over_it() -> None:
    dark = {"kind": "source_dark", "at": at(-10), "until": at(15)}
    down = {"kind": "node_down", "at": at(45), "until": None}
    found = {"kind": "drift", "at": at(20), "until": at(40), "agreed_at": at(20), "disagreed_at": at(30)}
    sudden = {"kind": "drift", "at": at(50), "until": None, "agreed_at": None, "disagreed_at": at(51)}
    bars = drawn(day.status_bars(WINDOW, [dark, down, found, sudden], "online", is_whole=True))
    assert bars == [
        ("online", 0, 100),
        ("doubt", 0, 25.0),
        ("doubt", 75.0, 25.0),
        ("drift-perhaps", 33.333, 16.667),
        ("drift", 50.0, 16.667),
        ("drift", 85.0, 15.0),
    ]


def override(minute: float, until: float, status: str = "online") -> dict[str, Any]:
    return {**change(minute, "offline", "offline", "override"), "status": status, "expires_at": at(until)}


def overridden(entries: list[dict[str, Any]], *, is_whole: bool = True, word: Any = None) -> list[tuple[Any, ...]]:
    bars = day.status_bars(WINDOW, entries, "offline", is_whole=is_whole, word=word)
    return [(bar.about["status"], bar.x, bar.width) for bar in bars if bar.kind == "override"]


def test_an_override_is_drawn_as_long_as_it_was_shown() -> None:
    ended = {**change(30, "offline", "offline", "override_ended"), "status": "online"}
    assert overridden([override(15, 45)]) == [("online", 25.0, 50.0)]
    assert overridden([override(15, 600)]) == [("online", 25.0, 75.0)]
    assert overridden([override(15, 45), ended]) == [("online", 25.0, 25.0)]
    assert overridden([override(15, 27), ended]) == [("online", 25.0, 20.0)]
    replaced = [override(15, 45), ended, override(30, 600, "offline")]
    assert overridden(replaced) == [("online", 25.0, 25.0), ("offline", 50.0, 50.0)]


def test_an_override_that_began_earlier_is_drawn_as_far_as_it_is_told() -> None:
    ended = {**change(30, "offline", "offline", "override_ended"), "status": "online"}
    assert overridden([ended]) == [("online", 0, 50.0)]
    assert overridden([change(15, "offline", "offline", "sessions"), ended], is_whole=False) == [("online", 25.0, 25.0)]
    word = {"at": at(-10), "status": "online"}
    assert overridden([], word=word) == [("online", 0, 100)]
    assert overridden([ended], word=word) == [("online", 0, 50.0)]


def test_sessions_at_the_same_time_have_lanes_of_their_own_and_devices_their_rows() -> None:
    web = {"device_flag": 1, "device": "web"}
    sessions = [session(0, 30), session(15, None), session(30, 45), session(-20, -10), session(10, 20, **web)]
    app, other = day.devices(WINDOW, day.within(WINDOW, sessions))
    assert [drawn(lane) for lane in app.lanes] == [
        [("session", 0, 50.0), ("session", 50.0, 25.0)],
        [("session", 25.0, 75.0)],
    ]
    assert day.within(WINDOW, sessions)[0] == sessions[2]
    assert (app.name, other.name, app.more) == ("app", "web", 0)
    assert day.height([app, other]) > day.height([other])


def test_more_sessions_than_lanes_are_counted() -> None:
    [device] = day.devices(WINDOW, [session(number, None) for number in range(day.MOST_LANES + 3)])
    assert (len(device.lanes), device.more) == (day.MOST_LANES, 3)


def test_edges_that_are_not_sure_fade() -> None:
    unsure = session(30, 45)
    unsure["began"]["after"], unsure["ended"]["after"] = at(15), at(36)
    still = session(50, 51)
    still["ended"]["after"] = at(51)
    [device] = day.devices(WINDOW, [unsure, still])
    assert drawn(device.lanes[0]) == [
        ("fade-in", 25.0, 25.0),
        ("session", 50.0, 10.0),
        ("fade-out", 60.0, 15.0),
        ("session", 83.333, 1.667),
    ]


def test_what_is_short_is_seen_at_the_edge_too() -> None:
    [device] = day.devices(WINDOW, [session(59.99, None)])
    [[bar]] = device.lanes
    assert (bar.x, bar.width) == (99.8, day.NARROWEST)


def test_a_window_ends_now_unless_it_is_asked_for_another() -> None:
    now = window({}, NOW)
    assert (now.span, now.is_now, now.end - now.begin, now.after(NOW)) == ("24h", True, 86_400 * SECOND, None)
    earlier = window({"span": "1h", "until": "2026-11-30T07:00:00Z"}, NOW)
    assert (earlier.is_now, earlier.before, earlier.after(NOW)) == (
        False,
        "2026-11-30T06:00:00.000000Z",
        "2026-11-30T08:00:00.000000Z",
    )
    assert window({"until": "2027-01-01T00:00:00Z", "span": "never"}, NOW) == now
    assert [len(window({"span": span}, NOW).ticks) for span in ("1h", "6h", "24h", "7d")] == [7, 7, 6, 7]
    with pytest.raises(PageRefused):
        window({"until": "now"}, NOW)


def test_what_is_asked_of_the_past() -> None:
    assert asked({}, NOW).query == {}
    assert asked({"at": "2027-01-01T00:00:00Z", "known_at": "2027-01-01T00:00:00Z"}, NOW).query == {}
    then = asked({"at": "2026-11-30T08:30:00Z", "known_at": "2026-11-30T08:00:00Z"}, NOW).query
    assert then == {"at": "2026-11-30T08:30:00.000000Z", "known_at": "2026-11-30T08:30:00.000000Z"}
    assert asked({"until": "2026-11-30T07:00:00Z"}, NOW).query["at"] == "2026-11-30T07:00:00.000000Z"


def test_hours_without_a_value_are_said_to_have_none() -> None:
    chart = hourly(NOW, "drifts", [("2026-11-30T08:00:00.000000Z", 3)])
    assert (len(chart.at), chart.at[-1], chart.values[-3:]) == (24, "2026-11-30T09:00:00.000000Z", [0, 3, 0])
    assert chart.rows == [("2026-11-30T08:00:00.000000Z", 3)]
    assert '"y":[0,' in chart.data
    assert hourly(NOW, "drifts", [], None).is_empty


def test_a_group_of_drifts_has_means() -> None:
    counted = {"node": "n1", "open": 1, "closed": 3, "never_agreed": 2, "seconds": {"at_least": 8.0, "at_most": 20.0}}
    found = group(counted, "node")
    assert (found.name, found.to_detect, found.to_correct) == ("n1", 6.0, 2.0)
    nothing = group({**counted, "open": 0, "closed": 2}, "node")
    assert (nothing.to_detect, nothing.to_correct) == (None, 4.0)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(None, "–"), (0, "0 s"), (3.25, "3.25 s"), (59.9, "59.9 s"), (60, "1 min"), (250, "4 min 10 s"),
     (7_500, "2 h 5 min"), (273_600, "3 d 4 h")],
)  # fmt: skip
def test_durations(seconds: float | None, written: str) -> None:
    assert duration(seconds) == written


def test_numbers_and_instants() -> None:
    assert [number(each) for each in (None, 1_234, 0.123456)] == ["–", "1,234", "0.1235"]
    assert instant(None) == '<span class="none">–</span>'
    assert ">2026-11-30 08:00:01.500 UTC<" in instant("2026-11-30T08:00:01.500000Z", "milli")
