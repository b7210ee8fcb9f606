"""The processes alongside the service: each is started, again when it dies, and ended with the service."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import msgspec
import structlog

from ledger.front import orders as front
from ledger.service import projector
from ledger.settings import Listen, RedisSettings, Settings, WebhookSettings, WukongimSettings
from ledger.sinks import orders as sinks
from ledger.store.stream_tokens import TokenRoot

log = structlog.get_logger()

INITIAL_BACKOFF_SECONDS = 0.5
MAX_BACKOFF_SECONDS = 30.0
GOOD_SECONDS = 60.0
"""One that ran for so long has not failed at once: the next pause is the first again."""

ENDED_FROM_OUTSIDE = (-signal.SIGTERM, -signal.SIGKILL)
"""It did not fail by itself: the next one is started after the first pause. Until then nothing is said, since whoever
ends all processes of a service, as at a shutdown, has ended the service, too."""

END_SECONDS = 2.0


class ServiceProcess:
    """A process of this instance, from `start` to `stop`: `python -m MODULE`, its orders a line on standard input.

    Orders may hold a password, and everybody can read a command line. Further lines are new orders. The end of that
    input is its own end.
    """

    def __init__(self, name: str, module: str, orders: msgspec.Struct, end_seconds: float = END_SECONDS) -> None:
        self._module = module
        self._orders = _line(orders)
        self._input: asyncio.StreamWriter | None = None
        self._is_ending = False
        self._end_seconds = end_seconds
        self._supervising: asyncio.Task[None] | None = None
        self.name = name
        self.pid: int | None = None
        """While it runs."""

    def start(self) -> None:
        """Start it, and again whenever it ends."""
        self._supervising = asyncio.create_task(self._supervise())

    def change(self, orders: msgspec.Struct) -> None:
        """Have it go on by these orders, and whatever is started after it."""
        if (line := _line(orders)) != self._orders:
            self._orders = line
            if self._input is not None:
                self._input.write(line)

    def expect_end(self) -> None:
        """The service stops: once it ends it is not started again."""
        self._is_ending = True

    async def stop(self) -> None:
        """End it."""
        assert self._supervising is not None
        self._supervising.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._supervising

    async def _supervise(self) -> None:
        pause = INITIAL_BACKOFF_SECONDS
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            code = await self._run()
            if code in ENDED_FROM_OUTSIDE or loop.time() - started > GOOD_SECONDS:
                pause = INITIAL_BACKOFF_SECONDS
            if code in ENDED_FROM_OUTSIDE:
                await asyncio.sleep(pause)
            if self._is_ending:
                return
            if code is not None:
                log.error("process_ended", process=self.name, code=code, again_in_seconds=pause)
            if code not in ENDED_FROM_OUTSIDE:
                await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_BACKOFF_SECONDS)

    async def _run(self) -> int | None:
        """One process, to its end -> its code, None where none was to be had; cancelled, it is ended."""
        try:
            process = await start_python(self._module)
        except OSError as error:
            log.warning("process_not_started", process=self.name, reason=str(error))
            return None
        assert process.stdin is not None
        self.pid = process.pid
        log.info("process_started", process=self.name, pid=process.pid)
        try:
            with contextlib.suppress(ConnectionError):
                process.stdin.write(self._orders)
                self._input = process.stdin
                await process.stdin.drain()
            return await process.wait()
        finally:
            self.pid = self._input = None
            # The end of its input ends it.
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), self._end_seconds)
            except TimeoutError:
                process.kill()
                await process.wait()


async def start_python(module: str) -> asyncio.subprocess.Process:
    """`python -m MODULE`, its standard input a pipe, its output that of this process."""
    return await asyncio.create_subprocess_exec(sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE)


class Alongside:
    """All processes of an instance. `watch` is told the name of each and how to ask for its process id.

    `token_roots`: what tokens of streams are signed with.
    """

    def __init__(
        self,
        database_url: str,
        token_roots: Sequence[TokenRoot],
        watch: Callable[[str, Callable[[], int | None]], object],
    ) -> None:
        self._database_url = database_url
        self._token_roots = token_roots
        self._watch = watch
        self._processes: dict[str, ServiceProcess] = {}
        self._settings: Settings | None = None
        self._spool_drains = False

    def spool_drains(self, drains: bool) -> None:
        """While it does, the projector gives way: who is online comes first."""
        self._spool_drains = drains
        if self._settings is not None and (process := self._processes.get("projector")) is not None:
            process.change(self._projector_orders(self._settings))

    async def change(self, settings: Settings) -> None:
        """Have those run that the settings ask for, by these settings."""
        self._settings = settings
        wanted = {name: (module, orders) for name, module, orders in self._wanted(settings)}
        for name, (module, orders) in wanted.items():
            if (process := self._processes.get(name)) is not None:
                process.change(orders)
                continue
            process = self._processes[name] = ServiceProcess(name, module, orders)
            process.start()
            self._watch(name, partial(getattr, process, "pid"))
        await self._stop(self._processes.keys() - wanted.keys())

    def expect_end(self) -> None:
        """The service stops: what ends is not started again."""
        for process in self._processes.values():
            process.expect_end()

    async def stop(self) -> None:
        """End them, the last one first."""
        await self._stop(reversed(list(self._processes)))

    async def _stop(self, names: Iterable[str]) -> None:
        for name in list(names):
            await self._processes.pop(name).stop()

    def _wanted(self, settings: Settings) -> Iterator[tuple[str, str, msgspec.Struct]]:
        """The name, module and orders of each."""
        url = self._database_url
        yield "projector", "ledger.service.projector", self._projector_orders(settings)
        if settings.front_listen is not None:
            fronts = _front_orders(settings, settings.front_listen, url, self._token_roots)
            yield "front", "ledger.front.process", fronts
        if settings.sinks:
            yield "sinks", "ledger.sinks.process", _sink_orders(settings, url)

    def _projector_orders(self, settings: Settings) -> projector.ProjectorOrders:
        return projector.ProjectorOrders(
            self._database_url,
            str(settings.archive_dir),
            settings.log_level,
            settings.log_format,
            gives_way=self._spool_drains,
        )


def _line(orders: msgspec.Struct) -> bytes:
    return msgspec.json.encode(orders, enc_hook=str) + b"\n"


def _sink_orders(settings: Settings, database_url: str) -> sinks.SinkOrders:
    return sinks.SinkOrders(
        database_url=str(database_url),
        webhooks=[each for each in settings.sinks if isinstance(each, WebhookSettings)],
        wukongims=[each for each in settings.sinks if isinstance(each, WukongimSettings)],
        redises=[each for each in settings.sinks if isinstance(each, RedisSettings)],
        sources=list(settings.sources),
        log_level=settings.log_level,
        log_format=settings.log_format,
    )


def _front_orders(
    settings: Settings, listen: Listen, database_url: str, token_roots: Sequence[TokenRoot]
) -> front.FrontOrders:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen.host, settings.listen.host)  # noqa: S104
    return front.FrontOrders(
        database_url=str(database_url),
        listen=(listen.host, listen.port),
        service=f"http://{Listen(host, settings.listen.port)}",
        connections=settings.front_connections,
        origins=list(settings.front_origins),
        token_roots=list(token_roots),
        keys=[front.FrontKey(key.name, sorted(key.scopes), key.key) for key in settings.api_keys],
        log_level=settings.log_level,
        log_format=settings.log_format,
        archive_dir=str(settings.archive_dir),
        asked_again_seconds=settings.asked_again_seconds,
        metrics_scope=settings.metrics_scope,
    )
