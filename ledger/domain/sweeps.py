"""Sweeps: which of a user's sessions ended with a node that booted, or that the configuration no longer names."""

from ledger.domain.drift import held_in
from ledger.domain.events import SessionId
from ledger.domain.presence import Presence
from ledger.domain.source import SourceState


def swept_by_boot(presence: Presence, source: SourceState, node: str) -> tuple[tuple[SessionId, ...], bool]:
    """-> (sessions that ended with the node's last boot, whether others of it are in doubt because of it)"""
    boot = source.nodes[node].boot
    if boot is None:
        return (), False
    ended: list[SessionId] = []
    suspect = False
    for held in held_in(presence, source.name):
        holder = source.holder(held.device, held.session)
        if holder == node and held.session.seen_at < boot[0]:
            ended.append(held.id)
        elif holder in (None, node) and held.session.seen_at <= boot[1]:
            suspect = True
    return tuple(ended), suspect


def swept_by_retirement(
    presence: Presence, source: SourceState, node: str, *, by_sender: bool = False
) -> tuple[tuple[SessionId, ...], bool]:
    """-> (sessions held by a node that the configuration no longer names, whether others may have been)

    Where a cluster counted together, who told of a session says nothing of who held it. `by_sender`: it is the best
    that is known all the same, since no look will tell.
    """
    ended: list[SessionId] = []
    suspect = False
    told_by_holder = by_sender or (source.holders_known and source.clustered_until is None)
    for held in held_in(presence, source.name):
        holder = held.device.scope or held.session.held_by or (held.session.node if told_by_holder else None)
        if holder == node:
            ended.append(held.id)
        suspect = suspect or holder is None
    return tuple(ended), suspect
