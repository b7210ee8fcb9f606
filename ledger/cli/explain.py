"""The command `explain`: why a user was shown online, offline or unknown, as a page for people."""

import os
from typing import Annotated

import typer

from ledger.cli.arguments import Uid
from ledger.cli.client import client
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line
from ledger.cli.queries import At, KnownAt, KnownPosition, Url, parse_when
from ledger.explain.catalogue import LANGUAGES
from ledger.explain.negotiation import language_of_locale


def explain(
    context: typer.Context,
    uid: Uid,
    *,
    at: At = None,
    known_at: KnownAt = None,
    position: KnownPosition = None,
    lang: Annotated[
        str | None, typer.Option(metavar="en|zh", help="The language; by default the terminal's, or English.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say why a user was shown online, offline or unknown: the event behind it, the evidence, and how sure it is.

    With --at alone, as it was shown at that instant. Each sentence ends in the positions of the events that it rests
    on: `presence-ledger history UID --all` shows them.

    Example: presence-ledger explain u100 --at 2026-11-23T14:03:00Z
    """
    if lang is not None and lang not in LANGUAGES:
        raise typer.BadParameter(f"must be one of {', '.join(LANGUAGES)}", param_hint="--lang")
    query = parse_when(at, known_at, position) | {"lang": lang or language_of_locale(os.environ)}
    with client(settings_from(context), url) as service:
        if as_json:
            print_json(service.explanation(uid, query))
        else:
            print_line(service.explanation_page(uid, query), end="")
