"""The span of time that a question is about: the last day, or from one instant to another."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from ledger.domain.instants import from_datetime
from ledger.domain.observation import SECOND, Instant
from ledger.http.instants import At
from ledger.http.problems import invalid
from ledger.http.uid import Storable

DEFAULT_SECONDS = 86_400
MAX_DAYS = 92

_FIRST = from_datetime(datetime.min.replace(tzinfo=UTC))

_FROM = "the last 24 hours before `to` where it is missing"
_TO = "now where it is missing"


class Span(BaseModel):
    """Of which time, and of which source."""

    model_config = ConfigDict(extra="forbid")

    from_: Annotated[At | None, Query(alias="from", description=_FROM)] = None
    to: Annotated[At | None, Query(description=_TO)] = None
    source: Annotated[Storable | None, Field(max_length=64, description="this source alone")] = None

    def bounds(self, now: Instant) -> tuple[Instant, Instant]:
        """From when, and until when. Raises the problem of a span that ends before it begins."""
        if self.from_ is not None and self.to is not None and self.from_ > self.to:
            raise invalid("to", "before 'from'")
        until = now if self.to is None else from_datetime(self.to)
        return _begin(self.from_, until), until


class LongSpan(Span):
    """A span that has hours to be told of, one by one."""

    def bounds(self, now: Instant) -> tuple[Instant, Instant]:
        """The same. Raises the problem of one that has too many."""
        since, until = super().bounds(now)
        if until - since > MAX_DAYS * 86_400 * SECOND:
            raise invalid("from", f"more than {MAX_DAYS} days before 'to', or before now: ask for part of it")
        return since, until


def _begin(since: datetime | None, until: Instant) -> Instant:
    return max(until - DEFAULT_SECONDS * SECOND, _FIRST) if since is None else from_datetime(since)
