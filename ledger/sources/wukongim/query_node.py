"""A node whose query API is asked: how it is reached, how long it is waited for, and what became of the questions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from ledger.domain.observation import Instant
from ledger.domain.profile import Profile
from ledger.sources.wukongim.node_breaker import BreakerState


class TimeOuts(NamedTuple):
    """Seconds; of a whole call with its retries, save `connect`."""

    connect: float = 2.0
    """A second try of a lost first packet included, on any network that a cluster is reached by."""
    call: float = 5.0
    """A thousand users are answered in milliseconds; who needs longer is in trouble, and other looks wait."""
    connections: float = 20.0
    """100,000 rows are some 25 MB, which a busy node needs seconds to make."""
    probe: float = 1.0
    """Probes follow each other by a second."""


@dataclass(frozen=True)
class QueryNode:
    """The node to be asked. Without an `api_url`, or with one that is no address, every call says so."""

    name: str
    api_url: str | None = field(repr=False)
    token: str | None = field(repr=False)
    profile: Profile
    ca_file: Path | None = None
    """The certificate authority that alone is trusted; None: the well-known ones."""


class NodeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the questions to a node. `calls` counts requests, retries and probes included.

    The other numbers and instants are of calls without probes, which have their own two fields.
    """

    last_good_at: Instant | None
    last_failure_at: Instant | None
    failures_in_a_row: int
    last_reason: str | None
    """Of the last failure, in words."""
    calls: int
    users_asked: int
    breaker: BreakerState
    breaker_open_until: Instant | None
    last_good_probe_at: Instant | None
    probe_reason: str | None
    """Why the last probe failed; None where it was good."""
    clock_offset_seconds: float | None = None
    """By how much the node's clock is ahead of ours, at least; None where it does not say."""
