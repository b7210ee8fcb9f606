"""The commands `status` and `history`: what the service answers, as people read it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer

from ledger.cli.arguments import Uid, Uids, parse_instant
from ledger.cli.client import Client, Json, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, duration, print_json, say
from ledger.text import counted

UIDS_A_QUERY = 10_000

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The service to ask, with the key in PRESENCE_LEDGER_API_KEY; by default the local one."
    ),
]
At = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="Not now but at this instant, such as 2026-11-23T14:03:00Z.")
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
    parse_instant(at, "--at")
    parse_instant(known_at, "--known-at")
    asked = {"at": at, "known_at": known_at, "position": position}
    return {name: value for name, value in asked.items() if value is not None}


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

    Example: presence-ledger status u100 u200 --at 2026-11-23T14:03:00Z
    """
    when = parse_when(at, known_at, position)
    with client(settings_from(context), url) as service:
        presences = list(fetch_presences(service, uids, when))
    if as_json:
        print_json({"items": presences})
    else:
        print_presences(presences)


def history(
    context: typer.Context,
    uid: Uid,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest events.")] = 100,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All events; with --json one on each line.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a user's events, oldest first, each with its verdict and the rule behind it.

    Example: presence-ledger history u100 --limit 20
    """
    with client(settings_from(context), url) as service:
        if everything and as_json:
            for line in service.all_events(uid):
                print_json(json.loads(line), indent=None)
            return
        events = map(json.loads, service.all_events(uid)) if everything else service.latest_events(uid, limit)
        _show_events(uid, list(events), as_json=as_json)


def fetch_presences(
    service: Client, uids: Iterable[str], when: Mapping[str, str | int] | None = None
) -> Iterator[Json]:
    """Yields the presences of any number of users, in the order asked, now or as `when` asks."""
    remaining = iter(uids)
    while chunk := list(islice(remaining, UIDS_A_QUERY)):
        yield from service.presences(chunk, when)


def print_presences(presences: Iterable[Json]) -> None:
    """Prints a line for each presence."""
    print_table(("uid", "status", "since", "devices", "why", "checked"), map(_presence_row, presences))


def _presence_row(presence: Json) -> Sequence[object]:
    devices = [_device(device) for device in presence.get("devices", ()) if device["status"] != "offline"]
    cause = presence.get("cause")
    why = presence.get("reason") or (f"{cause['kind']} at position {cause['position']}" if cause else None)
    return presence["uid"], _status(presence), presence.get("since"), devices, why, _checked(presence)


def _status(presence: Json) -> str:
    """The status, and what it could have been where the truth lies between two looks."""
    status: str = presence["status"]
    hedge = presence.get("uncertain")
    return f"{status} ({hedge['could_be']} from between {hedge['from']} and {hedge['to']})" if hedge else status


def _checked(presence: Json) -> str | None:
    """How long before the answer a look last agreed, by the service's own clock."""
    if not presence.get("verified_at"):
        return None
    made, verified = (datetime.fromisoformat(at) for at in (presence["as_of"]["at"], presence["verified_at"]))
    return f"{duration((made - verified).total_seconds())} ago"


def _device(device: Json) -> str:
    sessions = device.get("sessions") or 1
    return f"{device['source']}/{device['device']}" + (f" x{sessions}" if sessions > 1 else "")


def _show_events(uid: str, events: list[Json], *, as_json: bool) -> None:
    if as_json:
        print_json({"items": events})
    elif not events:
        say(f"the ledger has no event of {uid}")
    else:
        print_table(
            ("position", "recorded at", "node", "verdict", "rule", "status", "evidence"), map(_event_row, events)
        )


def _event_row(event: Json) -> Sequence[object]:
    before, after = event.get("status_before"), event.get("status_after")
    change = after if before == after else f"{before} -> {after}"
    place = "/".join(part for part in (event.get("source"), event.get("node")) if part)
    verdict = event.get("verdict") or event.get("kind")
    return event["position"], event.get("recorded_at"), place, verdict, event.get("rule"), change, _evidence(event)


def _evidence(event: Json) -> str | None:
    match event.get("kind"):
        case "corrected":
            return _correction(event)
        case "swept":
            return f"{_sessions(event['ended'])} ended, run {event['run']}, proven at position {event['evidence']}"
        case "tier_set":
            return f"{event['tier'] or 'as the rules say'}, by {event['by']}"
        case "override_set":
            give_way = " or newer evidence" if event["until_evidence"] else ""
            return f"{event['status']} until {event['expires_at']}{give_way}, by {event['by']}: {event['reason']}"
        case "override_ended":
            return f"{event['status']}, {event['why']}" + (f" by {event['by']}" if event["by"] else "")
        case _:
            return event.get("raw")


def _correction(event: Json) -> str:
    found = [event["drift"]] if event["drift"] else []
    found += [f"{_sessions(event[done])} {done}" for done in ("opened", "closed", "located") if event[done]]
    if event["attributed_to"]:
        found.append(f"because of: {event['attributed_to'].replace('_', ' ')}")
    if event["disagreed_at"]:
        began_after = f"after {event['agreed_at']} and " if event["agreed_at"] else ""
        found.append(f"began {began_after}before {event['disagreed_at']}")
    return ", ".join([*found, f"poll {event['poll']}, run {event['run']}"])


def _sessions(sessions: Sequence[object]) -> str:
    return counted(len(sessions), "session")
