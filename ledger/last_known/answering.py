"""Answers about users as they are now: PostgreSQL's, or from memory while that is away."""

import asyncio
import time
from collections.abc import Sequence

from ledger.errors import StoreBusy, StoreUnavailable
from ledger.last_known.memory import LastKnown
from ledger.repeated_logs import LoggedOutage
from projections.queries.reader import PresenceReader, Read

MANY_USERS = 200
"""Answers about so many and more are made by a thread: meanwhile the event loop goes on."""


class Answering:
    """`known` is None where nothing is to be answered from memory. All of it in the event loop but for `note_heard`."""

    def __init__(self, reader: PresenceReader, known: LastKnown | None) -> None:
        self._reader = reader
        self._known = known
        self._failed_at: float | None = None
        """When PostgreSQL last left a question unanswered, unless it has been heard since."""
        self._reason = ""
        self._outage = LoggedOutage("answering_from_memory", "answering_from_postgresql")

    @property
    def is_away(self) -> bool:
        """Whether PostgreSQL has left a question unanswered, and has not been heard since."""
        return self._failed_at is not None

    async def of(self, uids: Sequence[str]) -> Read:
        """The presences of these users, in the order asked. Raises StoreUnavailable, SourceUnreadable."""
        if self._failed_at is None:
            try:
                return await self._reader.many(uids)
            except StoreBusy:
                raise
            except StoreUnavailable as error:
                self.note_failure(error)
                if self._known is None:
                    raise
        return await self._from_memory(uids)

    async def _from_memory(self, uids: Sequence[str]) -> Read:
        assert self._known is not None
        if len(uids) < MANY_USERS:
            read = self._known.read(uids)
        else:
            read = await asyncio.to_thread(self._known.read, uids)
        if read is None:
            raise StoreUnavailable(self._reason)
        self._outage.failed(self._reason)
        return read

    def expect_postgresql(self) -> None:
        """What only PostgreSQL can answer is asked. Raises StoreUnavailable while that is away."""
        if self._failed_at is not None:
            raise StoreUnavailable(self._reason)

    def note_failure(self, error: StoreUnavailable) -> None:
        """PostgreSQL has left a question unanswered."""
        if self._known is not None:
            self._failed_at, self._reason = time.monotonic(), str(error)

    def note_heard(self, asked_at: float) -> None:
        """PostgreSQL has answered what it was asked at that instant of the monotonic clock."""
        if self._failed_at is not None and asked_at > self._failed_at:
            self._failed_at = None
        if self._failed_at is None:
            self._outage.succeeded()
