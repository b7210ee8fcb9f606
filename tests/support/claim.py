"""A statement held against the events that it cites: what the checks of its kinds begin with."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from ledger.domain.evidence import Placed
from ledger.domain.statement import Explanation, Statement

Event = Mapping[str, Any]

NEAR = 60_000_000


class Claim(NamedTuple):
    """A statement with all that it is held against; `events` are the cited ones, their fields by name."""

    rows: Sequence[Placed]
    explanation: Explanation
    statement: Statement
    events: Sequence[Event]
    of_user: Sequence[Event]
    """All events of the user, in their order."""

    @property
    def params(self) -> Mapping[str, Any]:
        return self.statement.params

    @property
    def hindsight(self) -> bool:
        """Whether more was known than had been recorded by then: an event may then tell of less than when it came."""
        return recorded(self.rows, self.explanation) < self.explanation.position

    def after(self) -> list[Event]:
        """Those that were recorded after what was known."""
        return [event for event in self.of_user if event["position"] > self.explanation.position]

    def since(self) -> list[Event]:
        """Those that were recorded after the instant, but for the first ones, known and received by then."""
        base, at = recorded(self.rows, self.explanation), self.explanation.at
        later = [event for event in self.of_user if event["position"] > base]
        while later and later[0]["position"] <= self.explanation.position and later[0]["received_at"] <= at:
            later.pop(0)
        return later

    def changes(self) -> list[Event]:
        """Those of them that changed the status on record, or began it."""
        return [
            event
            for event in self.since()
            if event["status_after"] != event["status_before"] or event["kind"] == "PresenceImported"
        ]

    def shown_changes(self) -> list[Event]:
        """Those but for the offlines that were taken back within the grace period, while online was shown."""
        changes = self.changes()
        if self.explanation.shown.status != "online":
            return changes
        resumed = [following.get("resumes") is not None for following in changes[1:]]
        return [event for event, is_resumed in zip_longest(changes, resumed) if not is_resumed]

    def is_near(self) -> bool:
        """What is cited came near the instant, and before the next change of the status."""
        changed = [event["position"] for event in self.changes()][:1]
        return all(
            abs(event["received_at"] - self.explanation.at) <= NEAR
            and all(event["position"] < position for position in changed)
            for event in self.events
        )


def recorded(rows: Sequence[Placed], explanation: Explanation) -> int:
    """The last position that had been recorded by the instant, as far as was known."""
    return min(explanation.position, bisect_right(rows, explanation.at, key=lambda row: row.recorded_at))


def fields_of(row: Placed) -> dict[str, Any]:
    """An event's fields, with its kind and place; those left out in storage, too."""
    fields: dict[str, Any] = msgspec.structs.asdict(row.event)
    place = {"kind": type(row.event).__name__, "position": row.position, "uid": row.uid}
    return {"source": row.source, **fields, "recorded_at": row.recorded_at, **place}


def configured(claim: Claim) -> Event:
    """The configuration that was in force."""
    at, known = claim.explanation.at, claim.explanation.position
    found = [fields_of(row) for row in claim.rows if type(row.event).__name__ == "Configured" and row.position <= known]
    return [event for event in found if event["recorded_at"] <= at or event["at"] <= at][-1]


def bounds_of(event: Event, uid: str) -> tuple[Any, Any]:
    """Between which instants what an event tells came about."""
    if event["kind"] == "PollObserved":
        [finding] = [finding for finding in event["findings"] if finding.uid == uid]
        return finding.agreed_at, finding.disagreed_at
    if event["kind"] == "Swept":
        return event["earliest"], event["latest"]
    if event["kind"] == "Corrected":
        return event["agreed_at"], event["disagreed_at"]
    return event["received_at"], event["received_at"]


def finds(claim: Claim) -> bool:
    """The cited poll found that drift of the user, with that outcome."""
    code, params = claim.statement.code, claim.params
    outcomes = {"doubtful_drift": ("open", "held")}.get(code, (code.partition("_")[2],))
    answered = params.get("answered_at") in (None, claim.events[0]["answered_at"])
    return answered and any(
        finding.uid == claim.explanation.uid
        and finding.disagreed_at == params["disagreed_at"]
        and finding.outcome in outcomes
        and params.get("drift") in (None, finding.drift)
        for finding in claim.events[0]["findings"]
    )


def spans(claim: Claim) -> bool:
    """As many as are cited, from the first to the last."""
    instants = [event["received_at"] for event in claim.events]
    facts = claim.params["number"], claim.params["first_at"], claim.params["last_at"]
    return facts == (len(claim.events), min(instants), max(instants))
