"""The command `explain`: why a user was shown online, offline or unknown, as a page for people."""

from datetime import datetime

import typer

from ledger.cli.arguments import Uid
from ledger.cli.client import Json, client
from ledger.cli.invocation import settings_from
from ledger.cli.near import suggest
from ledger.cli.output import AsJson, print_json, print_prose
from ledger.cli.queries import At, KnownAt, KnownPosition, Url, parse_when
from ledger.cli.reader import reader
from ledger.domain.instants import from_datetime
from ledger.domain.statement import Explanation, Statement, is_instant
from ledger.domain.status import Shown
from ledger.explain.catalogue import Catalogue, catalogue
from ledger.explain.page import Sentence, laid_out


def explain(
    context: typer.Context,
    uid: Uid,
    *,
    at: At = None,
    known_at: KnownAt = None,
    position: KnownPosition = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Say why a user was shown online, offline or unknown: the event behind it, the evidence, and how sure it is.

    With --at alone, as it was shown at that instant. Each sentence ends in the positions of the events that it rests
    on: `presence-ledger history UID --all` shows them.

    Example: presence-ledger explain u100 --at 'yesterday 14:03' --lang zh
    """
    query = parse_when(at, known_at, position) | {"lang": reader().language}
    with client(settings_from(context), url) as service:
        answer = service.explanation(uid, query)
        if as_json:
            print_json(answer)
            return
        print_prose(explanation_page(answer, catalogue(reader().language, reader().zone)).rstrip("\n"))
        if answer["reason"] == "never_observed":
            suggest(service, [uid])


def explanation_page(answer: Json, words: Catalogue) -> str:
    """An explanation as the API answers it, as a page. A sentence that is not known here stands as it was sent."""
    at = _instant(answer["as_of"]["at"])
    shown = Shown(answer["status"], None, None)
    told = Explanation(
        uid=answer["uid"], at=at, position=answer["as_of"]["position"], shown=shown, confidence=answer["confidence"],
        statements=(),
    )  # fmt: skip
    sentences = (
        Sentence(each["about"], _sentence(each, told, words), each["positions"]) for each in answer["statements"]
    )
    return laid_out(sentences, words.about)


def _sentence(statement: Json, explanation: Explanation, words: Catalogue) -> str:
    if statement["code"] not in words.templates:
        sent: str = statement["text"]
        return sent
    facts = {name: _instant(value) if is_instant(name) else value for name, value in statement["params"].items()}
    return words.sentence(explanation, Statement(statement["code"], statement["about"], (), facts))


def _instant(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))
