"""The commands `timeline` and `sessions`: a user's story, as people read it."""

from typing import Annotated

import typer

from ledger.cli.arguments import Since, Uid, Until, parse_span, span_query
from ledger.cli.client import Json, client
from ledger.cli.doubts import with_statuses
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.near import suggest
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.queries import Url
from ledger.cli.session_lines import session_row
from ledger.cli.story_lines import entry_row
from ledger.cli.times import header
from ledger.cli.words import number_of, told

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many of the latest.")]


def timeline(
    context: typer.Context,
    uid: Uid,
    limit: Limit = 100,
    since: Since = None,
    until: Until = None,
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Tell what happened to a user, oldest first: each change with its reason, and what changed nothing in one line.

    Drifts, and the times in which the user's sources were in doubt, stand where they became known; if a doubt changed
    the status that was shown, so does its end.

    Example: presence-ledger timeline u100 --from 'yesterday 14:00' --to 'yesterday 15:00'
    """
    begin, end = parse_span(since, until)
    query = span_query(begin, end)
    with client(settings_from(context), url) as service:
        page = service.fetch_latest(uid, "timeline", limit, query)
        if as_json:
            print_json(page)
            return
        entries, unasked = with_statuses(service, uid, page["items"], end)
        if not entries:
            nothing = told("the ledger has nothing about {uid}", uid=uid)
            say(told("the ledger has nothing about {uid} in that time", uid=uid) if query else nothing)
            suggest(service, [uid])
    if entries:
        print_table(("position", header("at"), "status", "what", "evidence"), map(entry_row, entries))
    if unasked:
        say(
            told(
                "what was shown the first {times} in doubt is left out; narrow the time with --from and --to",
                times=number_of(unasked, "time"),
            )
        )
    _say_rest(page, told("there are entries before these; --limit shows more"))


def sessions(
    context: typer.Context,
    uid: Uid,
    limit: Limit = 100,
    source: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this source.")] = None,
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that are open now.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show a user's connections, oldest first: when each began and ended, by what, and how sure that is.

    An instant alone is what a webhook of the connection itself said; others are bounds.

    Example: presence-ledger sessions u100 --open
    """
    query = {"open": "true"} if only_open else {}
    if source is not None:
        query["source"] = source
    with client(settings_from(context), url) as service:
        page = service.fetch_latest(uid, "sessions", limit, query)
        if as_json:
            print_json(page)
            return
        if not page["items"]:
            nothing = told("the ledger has no session of {uid}", uid=uid)
            say(told("the ledger has no open session of {uid}", uid=uid) if only_open else nothing)
            suggest(service, [uid])
    if page["items"]:
        columns = (
            "device",
            "connId",
            "told by",
            header("began"),
            "by",
            header("ended"),
            "by",
            "lasted",
            "others open",
            "flaps",
        )
        print_table(columns, map(session_row, page["items"]))
    _say_rest(page, told("there are sessions before these; --limit shows more"))


def _say_rest(page: Json, more: str) -> None:
    """Says what the page lacks: what came before it, and what has not been processed yet."""
    if page["next"] is not None:
        say(more)
    if page["lag"]:
        facts = {"position": page["as_of"]["position"], "events": number_of(page["lag"], "event")}
        if page["lag"] == 1:
            say(told("as of position {position}: {events} since is still to be processed", **facts))
        else:
            say(told("as of position {position}: {events} since are still to be processed", **facts))
