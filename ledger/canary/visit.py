"""One visit of a canary: it comes, stays until its webhook is on record, and goes; and what that came to."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple, TypeAlias, get_args

from ledger.canary.record import Record, RecordedItem
from ledger.canary.shown import CanaryStreams, Watching
from ledger.domain.observation import SECOND, Instant
from ledger.settings import CanarySettings
from ledger.sources.wukongim.protocol.connection import (
    Address,
    ClientIdentity,
    ConnectionFailed,
    LoginRefused,
    Unreachable,
    connected,
)
from ledger.working_state.canaries import Outcome

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


Change: TypeAlias = Literal["online", "offline"]
CHANGES: tuple[Change, ...] = get_args(Change)

STAY_SECONDS = 1.0
"""Who comes and goes within one batch of a node may be told of in either order."""


class Stages(NamedTuple):
    """Seconds from the opening of the socket until the webhook was here, committed, and told of by a stream."""

    webhook: float
    commit: float
    stream: float | None = None


class Visit(NamedTuple):
    """What a visit came to by `at`; `stages` are those of the online, None where it is not known to have come."""

    at: Instant
    outcome: Outcome
    error: str | None
    lost: tuple[Change, ...] = ()
    stages: Stages | None = None


async def visit(
    canary: CanarySettings, record: Record, streams: CanaryStreams | None, now: Callable[[], Instant]
) -> Visit:
    """Come, stay a moment, and go. Raises StoreUnavailable: then nothing is known of it."""
    async with AsyncExitStack() as stack:
        watching = None
        if streams is not None:
            watching = await stack.enter_async_context(streams.watching(canary.uid))
            # An instance that has just started may have no front yet.
            await watching.opened(canary.wait_seconds)
        return await _Visit(canary, record, watching, now).make()


class _Visit:
    def __init__(
        self, canary: CanarySettings, record: Record, watching: Watching | None, now: Callable[[], Instant]
    ) -> None:
        self._canary = canary
        self._record = record
        self._watching = watching
        self._now = now
        self._stages: Stages | None = None

    async def make(self) -> Visit:
        canary = self._canary
        version = await self._record.version()
        began_at, began = self._now(), asyncio.get_running_loop().time()
        address, client = (
            Address(canary.host, canary.port),
            ClientIdentity(canary.uid, canary.token, canary.device_flag),
        )
        try:
            async with connected(address, client) as connection:
                stay = asyncio.create_task(asyncio.sleep(STAY_SECONDS))
                came = await self._record.online(version, canary.wait_seconds)
                shown = came is None or await self._see(came, began_at, began)
                await stay
                await connection.ping()
        except ConnectionFailed as error:
            return Visit(self._now(), _outcome(error), str(error), stages=self._stages)
        after, conn_id = (version, None) if came is None else (came.version, came.conn_id)
        went = await self._record.offline(after, conn_id, canary.wait_seconds)
        lost = tuple(change for change, found in zip(CHANGES, (came, went), strict=True) if found is None)
        if lost:
            return Visit(self._now(), "lost", _in_words(lost, canary.wait_seconds), lost, self._stages)
        if not shown:
            return Visit(self._now(), "not_shown", self._not_shown(), stages=self._stages)
        return Visit(self._now(), "seen", None, stages=self._stages)

    async def _see(self, came: RecordedItem, began_at: Instant, began: float) -> bool:
        """Note how long the online took -> whether it was told of, where there is a stream."""
        webhook = max(0.0, (came.received_at - began_at) / SECOND)
        # By the database's clock, which may be behind.
        self._stages = Stages(webhook, max(webhook, (came.recorded_at - began_at) / SECOND))
        if self._watching is None:
            return True
        told = await self._watching.told(came.position, self._canary.wait_seconds)
        if told is not None:
            self._stages = self._stages._replace(stream=max(0.0, told - began))
        return told is not None

    def _not_shown(self) -> str:
        why = self._watching.error if self._watching is not None else None
        if why is not None:
            return f"there is no stream: {why}"
        return f"it is on record, and no stream has told of it within {self._canary.wait_seconds:g} s"


def _outcome(error: ConnectionFailed) -> Outcome:
    match error:
        case LoginRefused():
            return "refused"
        case Unreachable():
            return "unreachable"
        case _:
            return "broken"


def _in_words(lost: tuple[Change, ...], seconds: float) -> str:
    return f"no webhook has told within {seconds:g} s that it is {' and then '.join(lost)}"
