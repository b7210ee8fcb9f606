"""`/users/{uid}`: what is shown of a user and why, their day as bars, their story, and every event of theirs."""

from asyncio import gather
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from ledger.console import day
from ledger.console.addresses import user as address_of
from ledger.console.addresses import user_base
from ledger.console.pages.place import position_at
from ledger.console.pages.source_names import source_names
from ledger.console.service import ServiceAnswer, api_path
from ledger.console.visit import Page, PageRefused, PageRequest
from ledger.console.window import SPANS, Window, instant_of, micros, window
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant

SESSIONS, OPEN_SESSIONS, ENTRIES, EVENTS = 300, 100, 300, 20
"""So many are shown at a time, however many there are."""
CLOCKS_DIFFER_SECONDS = 60
"""A session ends by our clock, and is recorded by the database's."""
MAX_PAGES = 5
"""So many pages more are asked for where a timeline's page ends early."""
STORY = 40
TIERS = ("vip", "normal", "cold")


class DayQuery(NamedTuple):
    """The window, the instant in question and as of when it is answered; None: now."""

    window: Window
    at: Instant | None
    known_at: Instant | None

    @property
    def query(self) -> dict[str, str | None]:
        """As the API's routes of the past take it."""
        if self.at is None:
            return {}
        known = None if self.known_at is None else to_text(max(self.known_at, self.at))
        return {"at": to_text(self.at), "known_at": known}


def asked(query: Mapping[str, str], now: Instant) -> DayQuery:
    """What an address asks. Raises Refused for an instant that is none."""
    shown = window(query, now)
    at, known_at = instant_of(query, "at"), instant_of(query, "known_at")
    at = None if at is None or at >= now else at
    if at is None and not shown.is_now:
        at = shown.end
    return DayQuery(shown, at, None if known_at is None or known_at >= now else known_at)


def uid_of(visit: PageRequest) -> str:
    """Whom the address names: `/users/{uid}`, or `/users/?uid=` where a browser would take the uid for a step."""
    uid = "/".join(visit.segments[1:]) or visit.query.get("uid", "")
    if not uid:
        raise PageRefused(404, "refused.nothing")
    return uid


async def user(visit: PageRequest) -> Page:
    """A user's page, or with `part=why` what changes of it while a slider is moved."""
    uid, wanted = uid_of(visit), asked(visit.query, visit.now)
    of_user = partial(api_path, "users", uid)
    presence_query = dict(wanted.query)
    if wanted.at is not None and wanted.known_at is None:
        # What was shown then, not what is known of it now: so the explanation takes it, too.
        presence_query["known_at"] = presence_query["at"]
    why = [
        visit.ask(of_user("presence"), **presence_query),
        visit.ask(of_user("explain"), lang=visit.words.language, **wanted.query),
    ]
    facts: dict[str, Any] = {"user": uid, "asked": wanted, "window": wanted.window}
    if visit.query.get("part") == "why":
        presence, explanation = await gather(*why)
        return Page("why.html", uid, facts | {"presence": presence, "explanation": explanation})
    since = to_text(wanted.window.begin - CLOCKS_DIFFER_SECONDS * SECOND)
    begin, end = to_text(wanted.window.begin), None if wanted.window.is_now else to_text(wanted.window.end)
    place = None if end is None else await position_at(visit, end)
    timeline = partial(visit.ask, of_user("timeline"), order="desc", from_=begin, to=end)
    answers = gather(
        *why,
        visit.ask(of_user("sessions"), order="desc", limit=SESSIONS, after=place and f"{place + 1}.0", from_=since),
        visit.ask(of_user("sessions"), order="desc", limit=OPEN_SESSIONS, open="true"),
        newest_entries(timeline),
        timeline(limit=STORY, after=visit.query.get("story")),
        visit.ask(of_user("events"), order="desc", limit=EVENTS, to=end, after=visit.query.get("events")),
    )
    (presence, explanation, sessions, open_sessions, entries, story, events), sources, tier = await gather(
        answers, source_names(visit), visit.ask(of_user("tier"))
    )
    base, always = user_base(uid)
    facts |= {
        "base": base,
        "always": always,
        "presence": presence,
        "explanation": explanation,
        "sources": sources,
        "spans": SPANS,
        "tiers": TIERS,
        "tier": tier.get("tier"),
        **_chart(wanted, presence, entries, sessions, open_sessions),
        "story": story,
        "story_next": _next(visit, uid, "story", story.get("next")),
        "events": events,
        "events_next": _next(visit, uid, "events", events.get("next")),
        "done": visit.query.get("done"),
        "run": visit.query.get("run"),
    }
    return Page("user.html", uid, facts)


async def newest_entries(timeline: Callable[..., Awaitable[ServiceAnswer]]) -> ServiceAnswer:
    """The newest entries. A page of what was told again and again ends before it holds as many as were asked for."""
    found = await timeline(limit=ENTRIES)
    for _ in range(MAX_PAGES):
        if found.get("next") is None or len(found.items) >= ENTRIES:
            break
        more = await timeline(limit=ENTRIES - len(found.items), after=found.get("next"))
        if not more.is_good:
            return more
        found = ServiceAnswer(more.status, {**more.body, "items": found.items + more.items})
    return found


def _chart(
    wanted: DayQuery,
    presence: ServiceAnswer,
    timeline: ServiceAnswer,
    sessions: ServiceAnswer,
    still_open: ServiceAnswer,
) -> dict[str, Any]:
    window, entries = wanted.window, timeline.items[::-1]
    drawn = day.within(window, _together(sessions, still_open))
    devices = day.devices(window, drawn)
    is_whole = timeline.get("next") is None
    status, word = str(presence.get("status", "unknown")), _word(wanted, presence)
    return {
        "bars": day.status_bars(window, entries, status, is_whole=is_whole, word=word),
        "devices": devices,
        "height": day.height(devices),
        "is_whole": is_whole and _reaches_back(window, sessions),
        "measures": {
            "lane": day.LANE_HEIGHT,
            "label": day.LABEL_HEIGHT,
            "gap": day.GAP,
            "status": day.STATUS_HEIGHT,
        },
        "drawn": drawn,
    }


def _word(wanted: DayQuery, presence: ServiceAnswer) -> dict[str, Any] | None:
    """The override that is shown, unless at an instant before the window, which it may not reach."""
    cause = presence.get("cause")
    if cause is None or cause["kind"] != "override" or (wanted.at is not None and wanted.at < wanted.window.begin):
        return None
    return {"at": cause["at"], "status": presence.get("status")}


def _reaches_back(window: Window, sessions: ServiceAnswer) -> bool:
    """Whether those read, the latest first, begin before the window does."""
    return sessions.get("next") is None or micros(sessions.items[-1]["began"]["at"]) < window.begin


def _together(sessions: ServiceAnswer, still_open: ServiceAnswer) -> list[Any]:
    """Each once: those that began of late, and those that are open however long ago they began."""
    both = [*sessions.items, *still_open.items]
    return list({(each["began"]["position"], each["conn_id"], each["device_flag"]): each for each in both}.values())


def _next(visit: PageRequest, uid: str, name: str, cursor: str | None) -> str | None:
    return None if cursor is None else address_of(uid, **(_kept(visit) | {name: cursor})) + f"#{name}"


def _kept(visit: PageRequest) -> dict[str, str]:
    names = ("span", "until", "at", "known_at", "story", "events")
    return {name: visit.query[name] for name in names if name in visit.query}
