"""What the counts of a WuKongIM version mean: one profile for each way of counting."""

import enum
from typing import NamedTuple


class Profile(enum.StrEnum):
    """The server's version, as the settings name it."""

    V1 = "v1"
    V2_1 = "v2.1"
    V2_2 = "v2.2"
    V3 = "v3"


class Counting(NamedTuple):
    """How one version counts: facts of `wukongim.md` section 2, checked against the recordings."""

    online_counts_before: bool
    """An online's counts leave its own connection out."""
    node_local: bool
    """Counts and connIds are of the sending node alone, and an offline comes for the user's last session there."""
    may_overtake: bool
    """Several senders post at once, so that one delivery of a node may overtake another."""


COUNTING = {
    Profile.V1: Counting(online_counts_before=False, node_local=False, may_overtake=False),
    Profile.V2_1: Counting(online_counts_before=True, node_local=False, may_overtake=False),
    Profile.V2_2: Counting(online_counts_before=False, node_local=False, may_overtake=False),
    Profile.V3: Counting(online_counts_before=False, node_local=True, may_overtake=True),
}
