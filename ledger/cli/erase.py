"""The command `erase`: a user who asks to be forgotten is removed from everything that names them."""

from typing import Annotated

import typer

from ledger.cli.arguments import Uid
from ledger.cli.client import Json, client
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_prose
from ledger.cli.queries import Url
from ledger.cli.times import in_full
from ledger.cli.words import joined, number_of, told
from ledger.text import printable

LONGEST_SECONDS = 1800.0
"""All of the ledger is looked through for what names the user beside others."""


def erase(
    context: typer.Context,
    uid: Uid,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; it stays on record, without the user's name.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Remove a user from every event, table, sink and Redis that names them, for ever; that it was done is on record.

    Nothing brings them back but a backup made before. The seals still verify: `verify` says how much was erased. Who
    comes again is a new user.

    Example: presence-ledger erase u100 --reason "their request, ticket 4711"
    """
    if reason is None or not reason.strip():
        raise typer.BadParameter("say why: whoever reads the record will ask", param_hint="'--reason'")
    with client(settings_from(context), url, timeout_seconds=LONGEST_SECONDS) as service:
        erased = service.erase(uid, reason)
    if as_json:
        print_json(erased)
    else:
        print_prose("\n".join(_in_words(erased)))


def _in_words(erased: Json) -> list[str]:
    facts = {
        "uid": printable(erased["uid"]),
        "events": number_of(erased["events"], "event"),
        "others": number_of(erased["redacted"], "event"),
        "at": in_full(erased["at"]),
        "by": printable(erased["by"]),
        "position": erased["position"],
    }
    lines = [
        told(
            "{uid} was erased already, at {at} by {by}: {events} removed, {others} redacted (position {position})"
            if erased["erased_before"]
            else "{uid} is erased, at {at} by {by}: {events} removed, {others} redacted (position {position})",
            **facts,
        )
    ]
    if not erased["complete"]:
        sinks = joined(list(map(printable, erased["waiting"])), ", ")
        lines.append(
            told("it is complete once these sinks have been told: {sinks}", sinks=sinks)
            if sinks
            else told("it is complete within seconds")
        )
    lines += [*_backups(erased["backup"]), *map(_spool, erased["spools"])]
    return lines


def _backups(backup: Json | None) -> list[str]:
    if backup is None:
        return [told("no backup by `presence-ledger backup` holds the user; others may")]
    return [
        told(
            "backups until {at} still hold the user, the last one {days} old: erase again after a restore",
            at=in_full(backup["made_at"]),
            days=_days(backup),
        )
    ]


def _spool(spool: Json) -> str:
    return told(
        "webhooks that nobody drains are in {path} on {host}, as of {at}, {days} old, and may hold the user: delete "
        "them, or erase again once an instance has taken them in",
        path=printable(spool["path"]),
        host=printable(spool["host"]),
        at=in_full(spool["last_at"]),
        days=_days(spool),
    )


def _days(of: Json) -> str:
    return number_of(int(of["age_seconds"] // 86_400), "day")
