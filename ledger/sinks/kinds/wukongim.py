"""The kind `wukongim`: watchers who are online learn of changes through the connection to WuKongIM that they have."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import TupleRow

from ledger.settings import SourceSettings, WukongimSettings
from ledger.sinks.kind import Batch, Done, Head, Outcome, Retry, Surroundings, ToldChange
from ledger.sinks.online_status import messages
from ledger.sources.wukongim.budget import Budget
from ledger.sources.wukongim.command import CommandRefused, chunks
from ledger.sources.wukongim.query_node import QueryNode
from ledger.sources.wukongim.sender import CommandSender
from ledger.working_state import watch_lists
from projections.models import current

AT_ONCE = 8
"""Users who are told of at the same time, so that a slow node does not make the rate; of a user one at a time."""

AGAIN_SECONDS = 5.0
"""Presence ages: nodes that were away are to tell of it soon after they are back. What they refuse waits longer."""

MANY_USERS = 1_000_000_000
"""The budget is of requests alone."""


class Recipients(NamedTuple):
    """Who is told of changes: by user the watchers who are online, and the users themselves where they are."""

    watchers: dict[str, frozenset[str]]
    """Of users who are watched at all."""
    connected: set[str]


class Wukongim:
    """The commands of one sink, through the nodes of its source."""

    def __init__(self, sink: WukongimSettings, sender: CommandSender, surroundings: Surroundings) -> None:
        self._sink = sink
        self._sender = sender
        self._surroundings = surroundings
        # No burst: what is more than the rate waits, and is coalesced while it does.
        self._budget = Budget(sink.sends_per_second, MANY_USERS, burst_seconds=0.0)
        self._told: dict[str, bytes | None] = {}
        """Of a batch that has failed: what has been sent of it all the same, so that it is not sent again."""

    async def tell(self, batch: Batch) -> Outcome:
        """One command for each change, to all of its watchers who are online; and to the user's own other devices."""
        users = max(1, round(self._sink.sends_per_second))
        for start in range(0, len(batch.changes), users):
            changes = batch.changes[start : start + users]
            if start:
                # Those before have taken a second or more: nobody is to be told what has become another since.
                changes = await self._surroundings.answers([each.uid for each in changes])
            if (failed := await self._tell(changes, batch)) is not None:
                after = AGAIN_SECONDS if failed.may_pass else None
                return Retry(f"WuKongIM did not take a command: {failed.reason}", after)
        told, self._told = self._told, {}
        return Done({each.uid: None if each.erased else told.get(each.uid) for each in batch.changes})

    async def keep(self, head: Head) -> Outcome | None:
        """Nothing is told of those who do not change."""
        return None

    async def close(self) -> None:
        """Give the connections up."""
        await self._sender.close()

    async def _tell(self, changes: Sequence[ToldChange], batch: Batch) -> CommandRefused | None:
        """Tell of some users of a batch -> why one command was not taken."""
        uids = [each.uid for each in changes]
        audience = await self._surroundings.read(lambda connection: self._audience(connection, uids))
        slots, failures = asyncio.Semaphore(AT_ONCE), list[CommandRefused]()

        async def one(change: ToldChange) -> None:
            async with slots:
                if not failures and (failed := await self._send(change, batch, audience)) is not None:
                    failures.append(failed)

        # In a group, so that nothing goes on being sent when a term is over in the middle.
        async with asyncio.TaskGroup() as group:
            for change in changes:
                group.create_task(one(change))
        return failures[0] if failures else None

    async def _send(self, change: ToldChange, batch: Batch, audience: Recipients) -> CommandRefused | None:
        """Send what is to be told of one user -> why it could not be."""
        uid = change.uid
        before = self._told.get(uid, batch.remembered.get(uid))
        watchers = audience.watchers.get(uid)
        to_send, remembered = messages(change, before)
        for message in to_send:
            if message.to == "own":
                # Told to all of them: each takes what is said of another one than itself.
                recipients = audience.connected & {uid}
            else:
                recipients = (audience.connected & (watchers or frozenset())) - {uid}
            for subscribers in chunks(recipients):
                await self._budget.take(1)
                if (refused := await self._sender.send(message.payload, subscribers)) is not None:
                    return refused
        # Of whom nobody can have been told anything, there is nothing to remember.
        self._told[uid] = remembered if watchers or len(change.presence.devices) > 1 else None
        return None

    def _audience(self, connection: Connection[TupleRow], uids: Sequence[str]) -> Recipients:
        lists = [self._sink.list] if self._sink.list else None
        watchers = watch_lists.watchers_of(connection, uids, lists)
        everybody = set(uids).union(*set(watchers.values()))
        return Recipients(watchers, current.connected_in(connection, everybody, self._sink.source))


def build(sink: WukongimSettings, sources: Sequence[SourceSettings], surroundings: Surroundings) -> Wukongim:
    """The way through the nodes of this sink's source."""
    [source] = [each for each in sources if each.name == sink.source]
    nodes = [
        QueryNode(node.name, node.api_url, node.token, source.profile_for(node), node.api_ca_file)
        for node in source.nodes
    ]
    return Wukongim(sink, CommandSender(nodes, sink.from_uid), surroundings)
