"""The command `override`: an operator's word in place of what is shown of a user, and its end."""

import math
import re
from enum import StrEnum
from typing import Annotated

import typer

from ledger.cli.arguments import Uid
from ledger.cli.client import Json, client
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_prose
from ledger.cli.queries import Url
from ledger.cli.times import in_full
from ledger.cli.words import name_of, told
from ledger.text import printable

UNIT_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_PART = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,6})?)\s*(?P<unit>s|min|m|h|d)", re.ASCII)


class Word(StrEnum):
    """What can be said of a user."""

    ONLINE = "online"
    OFFLINE = "offline"


def override(
    context: typer.Context,
    uid: Uid,
    status: Annotated[Word | None, typer.Argument(help="What is to be shown; without it, --end.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it stays on record.")] = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="DURATION", help="For how long at most: 90s, 30m, 2h, 1d12h.")
    ] = None,
    until_evidence: Annotated[
        bool, typer.Option("--until-evidence", help="Let it end with newer evidence, too: a webhook's or a look's.")
    ] = False,
    end: Annotated[bool, typer.Option("--end", help="End the one that holds, now.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Have a user shown online or offline whatever the evidence says, for a while; on record with your key's name.

    Example: presence-ledger override u100 offline --reason "phone lost, ticket 4711" --for 2h
    """
    if end:
        if status is not None or reason is not None or for_ is not None or until_evidence:
            raise typer.BadParameter("ends the one that holds and takes nothing else", param_hint="'--end'")
        _end(context, uid, as_json, url)
        return
    if status is None:
        raise typer.BadParameter("say online or offline, or --end", param_hint="'STATUS'")
    if reason is None or not reason.strip():
        raise typer.BadParameter("say why: whoever reads the record will ask", param_hint="'--reason'")
    order = {
        "status": status.value,
        "reason": reason,
        "expires_seconds": parse_duration(for_),
        "until_evidence": until_evidence,
    }
    with client(settings_from(context), url) as service:
        said = service.override(uid, order)
    if as_json:
        print_json(said)
    else:
        print_prose(_in_words(said))


def parse_duration(text: str | None) -> float:
    """Returns the seconds that `--for` names, such as `90s`, `30m` or `1d12h`. Raises typer.BadParameter."""
    if text is None:
        raise typer.BadParameter("say for how long, such as --for 2h", param_hint="'--for'")
    parts, place = [], 0
    for match in _PART.finditer(text := text.strip()):
        if match.start() != place:
            break
        parts.append(float(match["number"]) * UNIT_SECONDS[match["unit"]])
        place = match.end()
    if not parts or place != len(text):
        raise typer.BadParameter(f"{text!r} is not a duration (such as 90s, 30m, 2h or 1d12h)", param_hint="'--for'")
    return math.fsum(parts)


def _end(context: typer.Context, uid: str, as_json: bool, url: str | None) -> None:
    with client(settings_from(context), url) as service:
        ended = service.end_override(uid)
    if as_json:
        print_json(ended)
    else:
        place = ended["position"]
        print_prose(told("{uid} is shown by evidence again, as of position {place}", uid=printable(uid), place=place))


def _in_words(said: Json) -> str:
    return told(
        "{uid} is shown {status} until {until} or newer evidence, by the word of {by} (position {position})"
        if said["until_evidence"]
        else "{uid} is shown {status} until {until}, by the word of {by} (position {position})",
        uid=printable(said["uid"]),
        status=name_of(said["status"]),
        until=in_full(said["expires_at"]),
        by=printable(said["by"]),
        position=said["position"],
    )
