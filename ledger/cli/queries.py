"""The commands `status` and `history`: what the service answers, as people read it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated

import typer

from ledger.cli.access import settings_of
from ledger.cli.client import Client, Json, client
from ledger.cli.output import AsJson, print_json, print_table, say

UIDS_A_QUERY = 10_000

Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="The service to ask, with the key of PRESENCE_LEDGER_API_KEY; else the local one."
    ),
]


def status(
    context: typer.Context,
    uids: Annotated[list[str], typer.Argument(metavar="UID...", help="The users to ask about.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show who of the users is online, since when, on which devices, and why.

    Example: presence-ledger status u100 u200
    """
    with client(settings_of(context), url) as service:
        presences = list(_presences(service, uids))
    if as_json:
        print_json({"items": presences})
    else:
        print_table(("uid", "status", "since", "devices", "why"), map(_presence_row, presences))


def history(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(metavar="UID", help="The user.")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many of the latest events.")] = 100,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All events; with --json one on each line.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a user's events, oldest first, each with its verdict and the rule behind it.

    Example: presence-ledger history u100 --limit 20
    """
    with client(settings_of(context), url) as service:
        if everything and as_json:
            for line in service.all_events(uid):
                print_json(json.loads(line), indent=None)
            return
        events = map(json.loads, service.all_events(uid)) if everything else service.latest_events(uid, limit)
        _show_events(uid, list(events), as_json=as_json)


def _presences(service: Client, uids: Iterable[str]) -> Iterator[Json]:
    remaining = iter(uids)
    while chunk := list(islice(remaining, UIDS_A_QUERY)):
        yield from service.presences(chunk)


def _presence_row(presence: Json) -> Sequence[object]:
    devices = [_device(device) for device in presence.get("devices", ()) if device["status"] != "offline"]
    cause = presence.get("cause")
    why = presence.get("reason") or (f"{cause['kind']} at position {cause['position']}" if cause else None)
    return presence["uid"], presence["status"], presence.get("since"), devices, why


def _device(device: Json) -> str:
    sessions = device.get("sessions") or 1
    return f"{device['source']}/{device['device']}" + (f" x{sessions}" if sessions > 1 else "")


def _show_events(uid: str, events: list[Json], *, as_json: bool) -> None:
    if as_json:
        print_json({"items": events})
    elif not events:
        say(f"the ledger has no event of {uid}")
    else:
        print_table(("position", "recorded at", "node", "verdict", "rule", "status", "raw"), map(_event_row, events))


def _event_row(event: Json) -> Sequence[object]:
    before, after = event.get("status_before"), event.get("status_after")
    change = after if before == after else f"{before} -> {after}"
    place = "/".join(part for part in (event.get("source"), event.get("node")) if part)
    verdict = event.get("verdict") or event.get("kind")
    return event["position"], event.get("recorded_at"), place, verdict, event.get("rule"), change, event.get("raw")
