"""A user's story as the API answers it: sessions, and the timeline with each of its kinds of entries."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ledger.domain.instants import Timestamp
from ledger.domain.reconciliation_events import Attribution, DriftKind, Outcome
from ledger.http.answers import AsOfBody
from ledger.http.responses import reference
from projections.models import entries
from projections.models.repeats import Repeats
from projections.models.session_bounds import Sure


class DriftEntry(Struct):
    """A drift: it began after `agreed_at` and before `disagreed_at`, which is its `at`; `until` null: it goes on."""

    # It is written by projections.models.drifts, in SQL.
    kind: Literal["drift"]
    position: int
    last_position: int
    at: Timestamp
    until: Timestamp | None
    source: str
    node: str
    drift: DriftKind
    state: Outcome
    agreed_at: Timestamp | None
    disagreed_at: Timestamp
    attributed_to: Attribution | None
    run: str


class DoubtEntry(Struct):
    """A source that was dark or a node that was down, which may have held a session of the user; `until` null: it still
    is.

    `ended_by` is `webhook` or `poll`, what was heard again; `answers`, the node does as before; `swept`, what its boot
    ended has been; `retired`, the configuration no longer names it.
    """

    # It is written by projections.models.outages, in SQL.
    kind: Literal["source_dark", "node_down"]
    position: int
    last_position: int
    at: Timestamp
    until: Timestamp | None
    source: str
    node: str | None
    reason: str
    ended_by: str | None


ENTRIES: Mapping[str, type[Struct]] = {
    "transition": entries.ChangeEntry,
    "sessions": entries.ChangeEntry,
    "correction": entries.CorrectionEntry,
    "sweep": entries.SweepEntry,
    "tier": entries.TierEntry,
    "override": entries.OverrideEntry,
    "override_ended": entries.OverrideEndEntry,
    "imported": entries.BeginningEntry,
    "duplicate": Repeats,
    "late": Repeats,
    "stale": Repeats,
    "drift": DriftEntry,
    "source_dark": DoubtEntry,
    "node_down": DoubtEntry,
}
"""Entries of the timeline by their `kind`."""


class TimelinePage(Struct):
    """`as_of` is up to where drifts and outages are told, too; `lag`, the events recorded since.

    A page of what was told very often may hold less than its limit while `next` goes on.
    """

    items: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "array", "items": reference("Entry")})]
    next: str | None
    as_of: AsOfBody
    lag: int


class EdgeBody(Struct):
    """Where a session began or ended: by `at`, and after `after` where that is known; `position` is the event's.

    How `sure`: `exact`, its own webhook says so, which takes up to 2 s, longer where it was sent again; `bounded`, a
    look, a count of zero or a boot does; `implied`, a count does and nothing else; `unknown`, nothing does.
    """

    at: Timestamp
    after: Timestamp | None
    sure: Sure
    rule: str
    position: int


class SessionBody(Struct):
    """A connection. `seen_at` is the last evidence of it; `duration_seconds`, from `began.at` to `ended.at`.

    `concurrent`: the user's sessions that were open once it had begun, itself included; `flaps`: sessions of the same
    device that had ended within the minute before.
    """

    source: str
    device_flag: int | None
    device: str
    conn_id: int | None
    told_by: str
    held_by: str | None
    began: EdgeBody
    seen_at: Timestamp
    ended: EdgeBody | None
    duration_seconds: float | None
    concurrent: int
    flaps: int


class SessionPage(Struct):
    """`as_of` is how far the projection had followed the ledger; `lag`, the events recorded since."""

    items: list[SessionBody]
    next: str | None
    as_of: AsOfBody
    lag: int
