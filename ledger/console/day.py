"""A user's day as bars on an axis of time: the status shown, and each device's sessions; geometry alone, in percent."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ledger.console.window import Window, micros
from ledger.domain.observation import Instant

NARROWEST = 0.2
"""Percent: what is shorter is still seen."""
MOST_LANES = 6
"""Of one device: sessions at the same time beyond that are counted."""
LANE_HEIGHT, LABEL_HEIGHT, GAP = 14, 20, 8
STATUS_HEIGHT = 26

Json = Mapping[str, Any]

_WITH_STATUS = frozenset(
    {"transition", "sessions", "correction", "sweep", "tier", "imported", "override", "override_ended"}
)


class Bar(NamedTuple):
    """A bar from `x`, `width` long, of the class `kind`; `about` says what it is of."""

    x: float
    width: float
    kind: str
    about: Json


class DeviceLanes(NamedTuple):
    """A device and its sessions in lanes, none of which overlap; `more` found no room."""

    source: str
    flag: int | None
    name: str
    lanes: list[list[Bar]]
    more: int


def status_bars(
    window: Window, entries: Sequence[Json], status: str, *, is_whole: bool, word: Json | None = None
) -> list[Bar]:
    """The status shown over the time, of the timeline's entries in order, doubts, overrides and drift laid over it.

    `status` is what holds where no entry tells, `word` the override (`at`, `status`) that is shown, if one is. Where
    the entries are not the `whole` window's, its begin is left out.
    """
    return [
        *_statuses(window, entries, status, is_whole=is_whole),
        *_doubts(window, entries),
        *_overrides(window, entries, word, _told_from(window, entries, is_whole=is_whole)),
        *_drifts(window, entries),
    ]


def _told_from(window: Window, entries: Sequence[Json], *, is_whole: bool) -> Instant:
    """Since when the entries tell all there is."""
    if is_whole or not entries:
        return window.begin
    return min(max(window.begin, micros(entries[0]["at"])), window.end)


def _statuses(window: Window, entries: Sequence[Json], status: str, *, is_whole: bool) -> Iterator[Bar]:
    told = [each for each in entries if each["kind"] in _WITH_STATUS and each.get("status_after")]
    shown, since = (told[0]["status_before"] if told else status), window.begin
    if not is_whole and entries:
        since = _told_from(window, entries, is_whole=is_whole)
        yield _bar(window, window.begin, since, "untold", {})
    for entry in told:
        at = min(max(window.begin, micros(entry["at"])), window.end)
        if entry["status_after"] != shown:
            yield _bar(window, since, at, shown, {"status": shown})
            shown, since = entry["status_after"], at
    yield _bar(window, since, window.end, shown, {"status": shown})


def _doubts(window: Window, entries: Iterable[Json]) -> Iterator[Bar]:
    for entry in entries:
        if entry["kind"] in ("source_dark", "node_down"):
            yield _bar(window, micros(entry["at"]), _end(window, entry["until"]), "doubt", entry)


def _overrides(window: Window, entries: Iterable[Json], word: Json | None, told_from: Instant) -> Iterator[Bar]:
    """The statuses of these entries are by evidence: while an override held, its own was shown."""
    told = [entry for entry in entries if entry["kind"] in ("override", "override_ended")]
    holding: Json | None = None
    for entry in told:
        if entry["kind"] == "override":
            holding = entry
            continue
        begin, end = told_from, micros(entry["at"])
        if holding is not None:
            # What ended by time is on record a little later.
            begin, end = micros(holding["at"]), min(end, micros(holding["expires_at"]))
        yield _bar(window, begin, end, "override", entry)
        holding = None
    if holding is not None:
        yield _bar(window, micros(holding["at"]), min(window.end, micros(holding["expires_at"])), "override", holding)
    elif word is not None and not told:
        yield _bar(window, max(told_from, micros(word["at"])), window.end, "override", word)


def _drifts(window: Window, entries: Iterable[Json]) -> Iterator[Bar]:
    for entry in entries:
        if entry["kind"] == "drift":
            found = micros(entry["disagreed_at"])
            if entry["agreed_at"] is not None:
                yield _bar(window, micros(entry["agreed_at"]), found, "drift-perhaps", entry)
            yield _bar(window, found, _end(window, entry["until"]), "drift", entry)


def within(window: Window, sessions: Iterable[Json]) -> list[Json]:
    """The sessions that reach into the window, the latest first."""
    found = [
        session for session in sessions if _begin(session) < window.end and _end(window, _ended(session)) > window.begin
    ]
    return sorted(found, key=_begin, reverse=True)


def devices(window: Window, sessions: Iterable[Json]) -> list[DeviceLanes]:
    """Such sessions by device, each as a bar with faded edges where those are not sure."""
    found: dict[tuple[str, int | None], list[Json]] = {}
    for session in sessions:
        found.setdefault((session["source"], session["device_flag"]), []).append(session)
    order = sorted(found, key=lambda key: (key[0], -1 if key[1] is None else key[1]))
    return [_device(window, *key, sorted(found[key], key=_begin)) for key in order]


def _device(window: Window, source: str, flag: int | None, sessions: list[Json]) -> DeviceLanes:
    lanes: list[list[Bar]] = []
    ends: list[Instant] = []
    more = 0
    for session in sessions:
        begin, end = _begin(session), _end(window, _ended(session))
        lane = next((number for number, until in enumerate(ends) if until <= begin), len(ends))
        if lane == MOST_LANES:
            more += 1
            continue
        if lane == len(ends):
            lanes.append([])
            ends.append(end)
        ends[lane] = end
        lanes[lane] += _session_bars(window, session)
    return DeviceLanes(source, flag, sessions[0]["device"], lanes, more)


def _session_bars(window: Window, session: Json) -> Iterator[Bar]:
    began, ended = session["began"], session["ended"]
    begin, end = micros(began["at"]), _end(window, _ended(session))
    if began["after"] is not None:
        yield _bar(window, micros(began["after"]), begin, "fade-in", session)
    if ended is None or ended["after"] is None or micros(ended["after"]) >= end:
        yield _bar(window, begin, end, "session", session)
        return
    sure_until = max(begin, micros(ended["after"]))
    yield _bar(window, begin, sure_until, "session", session)
    yield _bar(window, sure_until, end, "fade-out", session)


def _begin(session: Json) -> Instant:
    began = session["began"]
    return micros(began["after"] or began["at"])


def _ended(session: Json) -> str | None:
    return None if session["ended"] is None else str(session["ended"]["at"])


def _end(window: Window, until: str | None) -> Instant:
    return window.end if until is None else micros(until)


def _bar(window: Window, begin: Instant, end: Instant, kind: str, about: Json) -> Bar:
    x, right = window.share(begin), window.share(end)
    width = max(NARROWEST, round(right - x, 3)) if end > begin else NARROWEST
    return Bar(min(x, 100 - NARROWEST), width, kind, about)


def height(found: Sequence[DeviceLanes]) -> int:
    """Of all rows together, in pixels: the axis, the status, and each device's lanes under its name."""
    rows = sum(LABEL_HEIGHT + len(device.lanes) * LANE_HEIGHT + GAP for device in found)
    return LABEL_HEIGHT + STATUS_HEIGHT + GAP + rows + LABEL_HEIGHT
