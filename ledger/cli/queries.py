"""The commands `status` and `history`: what the service answers, as people read it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from ledger.cli.arguments import Since, Uid, Uids, Until, in_api, parse_instant, parse_span, span_query
from ledger.cli.client import Json, ServiceClient, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.near import suggest
from ledger.cli.output import AsJson, duration, print_json, say
from ledger.cli.story_lines import DONE, between
from ledger.cli.times import header, shown
from ledger.cli.words import joined, name_of, number_of, told, word

UIDS_A_QUERY = 10_000

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The service to ask, with the key in PRESENCE_LEDGER_API_KEY; by default the local one."
    ),
]
At = Annotated[
    str | None,
    typer.Option(metavar="INSTANT", help="Not now but then: 14:03, -2h, 2026-11-29T14:03 …"),
]
KnownAt = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="With --at: as known at this instant, not as known now.")
]
KnownPosition = Annotated[
    int | None, typer.Option(metavar="POSITION", help="With --at: as known at this position of the ledger.", min=0)
]


def parse_when(at: str | None, known_at: str | None, position: int | None) -> dict[str, str | int]:
    """Returns what a question about the past adds to a request; empty: the present is asked about.

    Raises typer.BadParameter.
    """
    if known_at is not None and position is not None:
        raise typer.BadParameter("give either --known-at or --position, not both")
    if at is None and (known_at is not None or position is not None):
        raise typer.BadParameter("--known-at and --position need --at")
    instants = {"at": parse_instant(at, "--at", is_past=True), "known_at": parse_instant(known_at, "--known-at")}
    asked: dict[str, str | int] = {name: in_api(each) for name, each in instants.items() if each is not None}
    return asked if position is None else asked | {"position": position}


def status(
    context: typer.Context,
    uids: Uids,
    *,
    at: At = None,
    known_at: KnownAt = None,
    position: KnownPosition = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show who of the users is online, since when, on which devices, why, and when a check last agreed.

    Example: presence-ledger status u100 u200 --at 'yesterday 14:03'
    """
    when = parse_when(at, known_at, position)
    with client(settings_from(context), url) as service:
        presences = list(fetch_presences(service, uids, when))
        if as_json:
            print_json({"items": presences})
            return
        print_presences(presences)
        suggest(service, [each["uid"] for each in presences if each.get("reason") == "never_observed"])


def history(
    context: typer.Context,
    uid: Uid,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest events.")] = 100,
    since: Since = None,
    until: Until = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All events; with --json one on each line.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a user's events, oldest first, each with its verdict and the rule behind it.

    Example: presence-ledger history u100 --from 'yesterday 14:00' --to 'yesterday 15:00'
    """
    span = span_query(*parse_span(since, until))
    with client(settings_from(context), url) as service:
        if everything and as_json:
            for line in service.all_events(uid, span):
                print_json(json.loads(line), indent=None)
            return
        found = map(json.loads, service.all_events(uid, span)) if everything else None
        events = service.latest_events(uid, limit, span) if found is None else list(found)
        if as_json:
            print_json({"items": events})
            return
        _show_events(events)
        if not events:
            say(
                told(
                    "the ledger has no event of {uid} in that time" if span else "the ledger has no event of {uid}",
                    uid=uid,
                )
            )
            suggest(service, [uid])


def fetch_presences(
    service: ServiceClient, uids: Iterable[str], when: Mapping[str, str | int] | None = None
) -> Iterator[Json]:
    """Yields the presences of any number of users, in the order asked, now or as `when` asks."""
    remaining = iter(uids)
    while chunk := list(islice(remaining, UIDS_A_QUERY)):
        yield from service.presences(chunk, when)


def print_presences(presences: Sequence[Json]) -> None:
    """Prints a line for each presence, and says so where they are from memory."""
    print_table(("uid", "status", header("since"), "devices", "why", "checked"), map(_presence_row, presences))
    if stale := [each["stale_since"] for each in presences if each.get("stale_since")]:
        say(told("PostgreSQL is away: this is what was known at {at}, and nothing since", at=shown(min(stale))))


def _presence_row(presence: Json) -> Sequence[object]:
    devices = [_device(device) for device in presence.get("devices", ()) if device["status"] != "offline"]
    cause = presence.get("cause")
    why = None
    if presence.get("reason"):
        why = name_of(presence["reason"])
    elif cause:
        why = told("{kind} at position {position}", kind=name_of(cause["kind"]), position=cause["position"])
    since = presence.get("since")
    return presence["uid"], _status(presence), since and shown(since), devices, why, _checked(presence)


def _status(presence: Json) -> str:
    """The status, and what it could have been where the truth lies between two looks."""
    status, hedge = name_of(presence["status"]), presence.get("uncertain")
    if not hedge:
        return status
    between = {"begin": shown(hedge["from"]), "end": shown(hedge["to"], hedge["from"])}
    could_be = name_of(hedge["could_be"])
    return status + told(" ({could_be} from between {begin} and {end})", could_be=could_be, **between)


def _checked(presence: Json) -> str | None:
    """How long before the answer a look last agreed, by the service's own clock."""
    if not presence.get("verified_at"):
        return None
    made, verified = (datetime.fromisoformat(at) for at in (presence["as_of"]["at"], presence["verified_at"]))
    return told("{length} ago", length=duration((made - verified).total_seconds()))


def _device(device: Json) -> str:
    sessions = device.get("sessions") or 1
    return f"{device['source']}/{device['device']}" + (f" x{sessions}" if sessions > 1 else "")


def _show_events(events: Sequence[Json]) -> None:
    if events:
        columns = ("position", header("recorded at"), "node", "verdict", "rule", "status", "evidence")
        print_table(columns, map(_event_row, events))


def _event_row(event: Json) -> Sequence[object]:
    before, after = event.get("status_before"), event.get("status_after")
    change = after and name_of(after)
    if before != after:
        change = f"{before and name_of(before)} -> {change}"
    place = "/".join(part for part in (event.get("source"), event.get("node")) if part)
    verdict, recorded_at = event.get("verdict") or event.get("kind"), event.get("recorded_at")
    rule, evidence = event.get("rule"), _evidence(event)
    return (
        event["position"],
        recorded_at and shown(recorded_at),
        place,
        verdict and name_of(verdict),
        rule,
        change,
        evidence,
    )


def _evidence(event: Json) -> str | None:
    match event.get("kind"):
        case "corrected":
            return _correction(event)
        case "swept":
            ended, proof = _sessions(event["ended"]), event["evidence"]
            return told(
                "{sessions} ended, run {run}, proven at position {proof}", sessions=ended, run=event["run"], proof=proof
            )
        case "tier_set":
            return told("{tier}, by {by}", tier=event["tier"] or told("as the rules say"), by=event["by"])
        case "override_set":
            shows = told(
                "{status} until {until} or newer evidence" if event["until_evidence"] else "{status} until {until}",
                status=name_of(event["status"]),
                until=shown(event["expires_at"]),
            )
            return told("{shows}, by {by}: {reason}", shows=shows, by=event["by"], reason=event["reason"])
        case "override_ended":
            ended = joined([name_of(event["status"]), word(event["why"])], ", ")
            return told("{ended}, by {by}", ended=ended, by=event["by"]) if event["by"] else ended
        case _:
            return event.get("raw")


def _correction(event: Json) -> str:
    found = [name_of(event["drift"])] if event["drift"] else []
    found += [told(text, sessions=_sessions(event[done])) for done, text in DONE.items() if event[done]]
    if event["attributed_to"]:
        found.append(told("because of: {cause}", cause=word(event["attributed_to"])))
    if event["disagreed_at"]:
        when = between(event["agreed_at"], event["disagreed_at"], event.get("recorded_at"))
        found.append(told("began {when}", when=when))
    return joined([*found, told("poll {poll}, run {run}", poll=event["poll"], run=event["run"])], ", ")


def _sessions(sessions: Sequence[object]) -> str:
    return number_of(len(sessions), "session")
