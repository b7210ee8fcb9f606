"""The commands `timeline` and `sessions`: a user's story, as people read it."""

from typing import Annotated

import typer

from ledger.cli.arguments import Since, Uid, Until, parse_span
from ledger.cli.client import Json, client
from ledger.cli.doubts import with_statuses
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.queries import Url
from ledger.cli.story_lines import entry_row, session_row
from ledger.text import counted

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

    Example: presence-ledger timeline u100 --from 2026-11-23T14:00:00Z --to 2026-11-23T15:00:00Z
    """
    _, end = parse_span(since, until)
    query = {name: value for name, value in (("from", since), ("to", until)) if value is not None}
    with client(settings_from(context), url) as service:
        page = service.fetch_latest(uid, "timeline", limit, query)
        entries, unasked = ([], 0) if as_json else with_statuses(service, uid, page["items"], end)
    if as_json:
        print_json(page)
        return
    if entries:
        print_table(("position", "at (UTC)", "status", "what", "evidence"), map(entry_row, entries))
    else:
        say(f"the ledger has nothing about {uid}" + (" in that time" if query else ""))
    if unasked:
        first = counted(unasked, "time")
        say(f"what was shown the first {first} in doubt is left out; narrow the time with --from and --to")
    _say_rest(page, "entries")


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
    if page["items"]:
        columns = (
            "device",
            "connId",
            "told by",
            "began (UTC)",
            "by",
            "ended (UTC)",
            "by",
            "lasted",
            "others open",
            "flaps",
        )
        print_table(columns, map(session_row, page["items"]))
    else:
        say(f"the ledger has no {'open ' if only_open else ''}session of {uid}")
    _say_rest(page, "sessions")


def _say_rest(page: Json, what: str) -> None:
    """Says what the page lacks: what came before it, and what has not been processed yet."""
    if page["next"] is not None:
        say(f"there are {what} before these; --limit shows more")
    if page["lag"]:
        verb = "is" if page["lag"] == 1 else "are"
        since = counted(page["lag"], "event")
        say(f"as of position {page['as_of']['position']}: {since} since {verb} still to be processed")
