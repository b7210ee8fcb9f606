"""The command `reads`: who asked about a user, as far as the settings have it noted."""

from typing import Annotated

import typer

from ledger.cli.arguments import Since, Uid, Until, parse_span, span_query
from ledger.cli.client import client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.queries import Url
from ledger.cli.times import header, shown
from ledger.cli.words import told
from ledger.text import visible

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many of the earliest.")]


def reads(
    context: typer.Context,
    uid: Uid,
    limit: Limit = 1_000,
    since: Since = None,
    until: Until = None,
    *,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Show who asked about a user: by which API key, over which route, when and how often. Needs `[audit] reads`.

    Example: presence-ledger reads u100 --from yesterday
    """
    query = span_query(*parse_span(since, until))
    with client(settings_from(context), url) as service:
        page = service.reads(uid, limit, query)
    if as_json:
        print_json(page)
        return
    if not page["items"]:
        say(told("nobody is known to have asked about {uid}", uid=visible(uid)))
        return
    columns = (header("from"), header("to"), "key", "route", "times")
    print_table(
        columns,
        [
            (shown(each["first_at"]), shown(each["last_at"]), visible(each["key"]), each["route"], each["number"])
            for each in page["items"]
        ],
    )
    if page["next"] is not None:
        say(told("there are more after these; --from or --limit shows them"))
