"""One stream, opened again wherever it ends, going on from the last cursor."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

import httpx2

from ledger.client import calls, transport
from ledger.client.backoff import Backoff
from ledger.client.errors import ClientError, Problem, is_lasting
from ledger.client.event_stream import EventStreamReader
from ledger.client.transport import ServiceAddress
from ledger.client.values import Disconnected, Told

log = logging.getLogger("ledger.client")


class Follower:
    """What a stream tells, over restarts of the service and networks that come and go.

    The stream is read as fast as what it tells is taken: of whoever is slow, the service keeps the latest alone.
    """

    def __init__(
        self,
        http: httpx2.AsyncClient,
        service: ServiceAddress,
        cursor: str | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.cursor = cursor
        self._http = http
        self._service = service
        self._backoff = backoff or Backoff()
        self._retry_seconds: float | None = None
        self._not_before = 0.0

    async def follow(self, call: calls.Call[None]) -> AsyncGenerator[Told, None]:
        """All that is told, without an end; where the stream breaks, a Disconnected stands in between.

        Raises ClientError where trying again would not help, such as Unauthorized.
        """
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._not_before - loop.time()))
            broken: ClientError | None = None
            try:
                async with aclosing(self._connection(call)) as connection:
                    async for told in connection:
                        self._backoff.succeeded()
                        yield told
            except ClientError as error:
                if is_lasting(error):
                    raise
                broken = error
            seconds = self._backoff.pause(self._told_seconds(broken))
            log.log(
                logging.WARNING if broken else logging.INFO, "the stream of %s ended, again in %.1f s: %s",
                self._service.url, seconds, broken or "as the service said",
            )  # fmt: skip
            # Whoever follows others meanwhile comes no sooner.
            self._not_before = loop.time() + seconds
            yield Told(Disconnected(broken, seconds), self.cursor)

    async def _connection(self, call: calls.Call[None]) -> AsyncGenerator[Told, None]:
        reader = EventStreamReader(self.cursor)
        options = self._service.stream_options(self.cursor) | dict(transport.arguments(call))
        with transport.translated(self._service):
            async with self._http.stream(call.method, call.path, **options) as response:
                if response.status_code != httpx2.codes.OK:
                    await response.aread()
                    transport.check(response)
                async for data in response.aiter_bytes():
                    for told in reader.feed(data):
                        yield told
                        # Whoever takes it up is through with it, and may go on from there.
                        self.cursor = told.cursor
                    self.cursor = reader.cursor
                    self._retry_seconds = reader.retry_seconds

    def _told_seconds(self, broken: ClientError | None) -> float | None:
        if isinstance(broken, Problem) and broken.retry_after is not None:
            return broken.retry_after
        told, self._retry_seconds = self._retry_seconds, None
        return told if broken is None else None
