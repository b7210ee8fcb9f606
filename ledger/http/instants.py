"""Instants as requests name them, and which answer about the past a request asks for."""

from datetime import datetime
from typing import Annotated

from fastapi import Query
from psycopg import Connection
from psycopg.rows import TupleRow
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict

from ledger.domain.instants import from_datetime, parse_timestamp, to_text
from ledger.domain.observation import Instant
from ledger.http.problems import invalid
from projections.models.shown import AnswerPoint
from projections.queries import history


def _timestamp(value: object) -> datetime:
    try:
        return parse_timestamp(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{error}; '+' is written %2B in a URL") from error


At = Annotated[AwareDatetime, BeforeValidator(_timestamp)]

Position = Annotated[int, Query(ge=0, le=2**63 - 1)]

AT_POSITION = "as was known at this position of the ledger"


class When(BaseModel):
    """Which instant is asked about, and as of when: at most one of `known_at` and `position`, and with `at` only."""

    model_config = ConfigDict(extra="forbid")

    at: Annotated[At | None, Query(description="the instant asked about; now where it is missing")] = None
    known_at: Annotated[At | None, Query(description="as was known at this instant; now where it is missing")] = None
    position: Annotated[Position | None, Query(description=AT_POSITION)] = None

    @property
    def is_past(self) -> bool:
        """Whether anything but the present is asked about. Raises the problem of a question that has no meaning."""
        for field in ("known_at", "position"):
            if self.at is None and getattr(self, field) is not None:
                raise invalid(field, "needs 'at', the instant that is asked about")
        if self.known_at is not None and self.position is not None:
            raise invalid("position", "either 'known_at' or 'position'")
        return self.at is not None


def resolve_point(connection: Connection[TupleRow], when: When, now: Instant) -> AnswerPoint:
    """The instant asked about, and the position up to which the ledger is known. Raises the problem that names it."""
    assert when.at is not None
    head = history.head(connection)
    # The clock of the instance that answered before, or the database's, may be ahead of ours.
    latest = max(now, head.recorded_at)
    at = from_datetime(when.at)
    if at > latest:
        raise invalid("at", f"in the future: it is {to_text(latest)}")
    if when.position is not None:
        if when.position > head.position:
            raise invalid("position", f"beyond the head of the ledger, which is {head.position}")
        return AnswerPoint(at, when.position)
    if when.known_at is None:
        return AnswerPoint(at, head.position)
    known_at = from_datetime(when.known_at)
    if known_at < at:
        raise invalid("known_at", "before 'at': what was to come could not be known then")
    if known_at > latest:
        raise invalid("known_at", f"in the future: it is {to_text(latest)}")
    return AnswerPoint(at, history.position_at(connection, known_at))
