"""Checks what an explanation says against the events that it cites, knowing nothing of how statements are made.

`problems` names whatever is not so; a code that is not known here is a problem, too.
"""

from collections.abc import Iterator, Sequence

from ledger.domain.evidence import Placed
from ledger.domain.statement import Explanation
from tests.support.claim import Claim, fields_of, recorded
from tests.support.claimed_answers import ANSWERS
from tests.support.claimed_evidence import EVIDENCE
from tests.support.claimed_fields import FIELDS, Field

CHECKS = {**ANSWERS, **EVIDENCE}


def problems(rows: Sequence[Placed], explanation: Explanation) -> Iterator[str]:
    """Whatever an explanation says that the events do not bear out."""
    if not explanation.statements or explanation.statements[0].about != "status":
        yield "it does not begin with the answer"
    wrong = list(_citations(rows, explanation))
    yield from wrong
    if wrong:
        return
    of_user = [fields_of(row) for row in rows if row.uid == explanation.uid]
    for statement in explanation.statements:
        events = [fields_of(rows[position - 1]) for position in statement.positions]
        claim = Claim(rows, explanation, statement, events, of_user)
        yield from (f"{statement.code} {statement.positions}: {what}" for what in _problems_of(claim))


def _citations(rows: Sequence[Placed], explanation: Explanation) -> Iterator[str]:
    """Each statement cites something, and that is there."""
    searched = recorded(rows, explanation)
    for statement in explanation.statements:
        nothing_there = statement.code.endswith(("never_observed", "nothing_recorded")) and not searched
        if not statement.positions and rows and not nothing_there:
            yield f"{statement.code} cites nothing"
        elif not all(0 < position <= len(rows) for position in statement.positions):
            yield f"{statement.code} cites what is not there: {statement.positions}"


def _problems_of(claim: Claim) -> Iterator[str]:
    code, shown = claim.statement.code, claim.explanation.shown.status
    if code not in FIELDS and code not in CHECKS:
        yield "nobody knows how to check it"
    for param, field in FIELDS.get(code, {}).items():
        yield from _compare(claim, param, field)
    if any(event["uid"] not in ("", claim.explanation.uid) for event in claim.events) and code not in ABOUT_ALL:
        yield "it cites the event of somebody else"
    if code.startswith("shown_") and claim.params.get("status", shown) != shown:
        yield f"it says {claim.params['status']}"
    check = CHECKS.get(code)
    if check is not None and not check(claim):
        yield f"it is not so: {dict(claim.params)}"


def _compare(claim: Claim, param: str, field: Field) -> Iterator[str]:
    """Hold a fact of the statement, or a constant of its code, against a field of a cited event."""
    wanted = field.equals if field.equals is not None else claim.params.get(param)
    event = claim.events[field.cited]
    found = event.get(field.name, None)
    if field.size and found is not None:
        found = len(found)
    if claim.hindsight and field.name in ("status_before", "status_after"):
        return
    if wanted is None:
        yield f"it does not say {param}"
    elif found != wanted and not (isinstance(wanted, tuple) and found in wanted):
        yield f"{param} is {wanted!r}, {field.name} of {event['position']} is {found!r}"


ABOUT_ALL = frozenset(
    {
        "with_hindsight",
        "with_hindsight_at_position",
        "shown_never_observed",
        "rule_never_observed",
        "unknown_never_observed",
    }
    | {"nothing_since", "today_same", "today_other", "today_uncertain", "stopped_then", "stopped_between"}
    | {"killed_then", "killed_between", "doubtful_down", "doubtful_unknown_today", "doubtful_rules"}
)
"""Statements that cite how far the ledger was looked at, or what it ended with, whosever event that is."""
