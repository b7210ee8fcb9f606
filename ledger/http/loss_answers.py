"""Webhook loss and blind times as the API answers them."""

from typing import Literal

from msgspec import Struct, field

from ledger.domain.blind import BlindKind
from ledger.domain.instants import Timestamp
from ledger.http.answers import AsOfBody


class IntervalBody(Struct):
    """Where the true share lies with this confidence: Wilson's score interval, its upper end raised by what no look
    could see.
    """

    lower: float
    upper: float
    confidence: float
    method: Literal["wilson"] = "wilson"


class LostBy(Struct):
    """Lost transitions by how they came to light.

    By a look: `gap`, single webhooks were lost; `sender`, none at all had come. By a later webhook: `late_offline`, a
    connection ended of whose begin nobody had told; `count`, more connections were counted than were known; `returned`,
    an online of a user who had been alone for longer than anybody had told.
    """

    gap: int
    sender: int
    late_offline: int
    count: int
    returned: int


class Apart(Struct):
    """Transitions that no webhook told and that are no loss: WuKongIM's `restart`, a node that was `retired` or down
    (`node`), users whom a version never tells (`upstream_defect`), and those of times in which nobody could know
    (`blind`).
    """

    restart: int
    retired: int
    node: int
    upstream_defect: int
    blind: int


class LossCounts(Struct, kw_only=True):
    """`transitions` are the `told` and the `lost` ones; `share` is null where there are none."""

    transitions: int
    told: int
    lost: int
    share: float | None
    interval: IntervalBody
    lost_by: LostBy
    apart: Apart


class NodeLoss(LossCounts, kw_only=True):
    """A node's; several joined by `+` where they answered a look together, an item's node where webhooks told."""

    node: str


class HourLoss(LossCounts, kw_only=True):
    """A node's in the hour in which they were learnt."""

    hour: Timestamp
    node: str


class DetectionFloor(Struct):
    """What is too short to be seen: a stay whose begin and end were both lost leaves no trace unless a look falls into
    it, and looks are so many seconds apart, by tier.

    `unseen_at_most` is the share of transitions that such stays may hold, where each webhook is lost by itself. Without
    looks (`looked_at` false, no node has an `api_url`) only later webhooks bring a loss to light.
    """

    looked_at: bool
    vip_seconds: float
    normal_seconds: float
    cold_seconds: float
    unseen_at_most: float


class LossBudget(Struct):
    """What may be lost of the last `days` before `to`, and what is `left` of it: 1 where nothing was lost, below 0
    where more was than it allows, null where there was nothing to lose.
    """

    objective: float
    days: int
    transitions: int
    lost: int
    left: float | None


class BurnRate(Struct):
    """How many times faster than allowed the budget burns, in a long and in a short window that end at `to`.

    `burning`: faster than `threshold` in both. `fits`: the short window is long enough for losses to come to light.
    """

    threshold: float
    long_seconds: int
    short_seconds: int
    long: float | None
    short: float | None
    burning: bool
    fits: bool


class SourceLoss(LossCounts, kw_only=True):
    """A source's, then those of its nodes, and of each node's hours that had a transition."""

    source: str
    detection_floor: DetectionFloor
    budget: LossBudget
    burn_rates: list[BurnRate]
    nodes: list[NodeLoss]
    hours: list[HourLoss]


class LossBody(Struct, kw_only=True):
    """The sources of the settings, and those on record; `as_of` tells up to where the ledger is counted."""

    from_: Timestamp = field(name="from")
    to: Timestamp
    items: list[SourceLoss]
    as_of: AsOfBody


class BlindBody(Struct, kw_only=True):
    """A time in which nobody could know who came and went: of a node, of a source, or of all sources where it is null.

    `until` is null while it goes on. `first_position` and `last_position` are of the events that tell of its begin and
    of its end.
    """

    source: str | None
    node: str | None
    kind: BlindKind
    since: Timestamp
    until: Timestamp | None
    seconds: float
    reason: str
    first_position: int
    last_position: int | None


class BlindSeconds(Struct, kw_only=True):
    """Seconds within `from` and `to`, by kind: our service did not run; neither webhooks nor answers came; nodes were
    down, each by itself; PostgreSQL did not take what was to be recorded, and webhooks were refused, or were spooled.
    """

    service_stopped: float
    source_dark: float
    node_down: float
    store_unavailable: float
    spooling: float


class BlindTotalBody(Struct):
    """How long nobody could know of a whole source (several kinds at once count once), and by kind; `source` is null
    for what is of all sources.
    """

    source: str | None
    seconds: float
    by_kind: BlindSeconds


class BlindPage(Struct, kw_only=True):
    """Blind times that have a part within `from` and `to`, by begin; the totals are of all of them."""

    from_: Timestamp = field(name="from")
    to: Timestamp
    items: list[BlindBody]
    next: str | None
    totals: list[BlindTotalBody]
    as_of: AsOfBody
