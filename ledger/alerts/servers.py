"""Whether the settings of nodes name the servers that they are meant to name. Pure."""

from collections.abc import Mapping
from itertools import combinations

from ledger.domain.observation import SECOND
from ledger.domain.source import SourceState

SAME_BOOT = round(1.5 * SECOND)
"""Two statements of one boot may be so far apart: both round, and clocks drift."""


def same_servers(source: SourceState) -> dict[str, str]:
    """Nodes whose addresses lead to the server that another one's leads to: a cluster gives each a number of its own.

    By name, with the name of the other.
    """
    found: dict[str, str] = {}
    known = {name: source.nodes[name] for name in source.node_profiles if name in source.nodes}
    for (name, node), (other, its) in combinations(known.items(), 2):
        if node.node_id is None or node.node_id != its.node_id or node.boot is None or its.boot is None:
            continue
        if node.boot[0] <= its.boot[1] + SAME_BOOT and its.boot[0] <= node.boot[1] + SAME_BOOT:
            found.setdefault(name, other)
            found.setdefault(other, name)
    return found


def posts_as_other(senders: Mapping[str, str], addresses: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """Nodes under whose name posts come from the address of another node of the source, and not from their own.

    `senders`: by node, the address of its last post; `addresses`: by node, those of its `api_url`. Where nodes share an
    address, or posts come through a proxy, nothing can be told.
    """
    found: dict[str, str] = {}
    for node, sender in senders.items():
        owners = [other for other, own in addresses.items() if sender in own]
        if addresses.get(node) and len(owners) == 1 and owners[0] != node:
            found[node] = owners[0]
    return found
