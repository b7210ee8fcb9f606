"""Takes changed settings while the service runs: read, checked and put on record first, then in force at once.

Until everything that can fail has been done, nothing has changed. What requests are answered with is one value, which
is replaced as a whole: whoever came before is answered by the old one, and no webhook is refused in between.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import structlog
from fastapi import FastAPI

from ledger.alerting.watch import Alerting
from ledger.canary.service import Canaries
from ledger.errors import LedgerError
from ledger.http.app import put_in_force
from ledger.http.forwarding import Forwarding
from ledger.http.kept_windows import KeptWindows
from ledger.http.readiness import SourceStreams
from ledger.http.settings import WAY_OUT
from ledger.http.state import Services
from ledger.server.logs import configure_logging
from ledger.service.announcing import Announcing
from ledger.service.of_settings import HookSecrets, configurations, drift_window, hook_secrets, node_names, query_nodes
from ledger.service.processes import Alongside
from ledger.settings import Settings
from ledger.settings.difference import SettingChange, SettingsDifference, difference
from ledger.settings.notices import expect_known
from ledger.store import session, shared_secrets
from ledger.store.data_folder import DataFolder
from ledger.store.ledger import translated

log = structlog.get_logger()

END_SECONDS = 2.0
STOPPING = "the service is stopping: its next start takes the settings as they are then"
RETIRED_SECONDS = 30.0
"""So long requests that came before a reload may still be forwarded as it was before."""


@dataclass
class Parts:
    """What of an instance depends on settings and runs on its own."""

    folder: DataFolder
    database_url: str
    announcing: Announcing
    processes: Alongside
    canaries: Canaries
    alerting: Alerting
    """The one that evaluates now: other settings make another."""
    make_alerting: Callable[[Settings, Services], Alerting]
    retiring: set["asyncio.Task[None]"] = field(default_factory=set)

    async def stop(self) -> None:
        """Evaluate no longer, and close at once what was to be closed later."""
        await self.alerting.stop()
        for task in self.retiring:
            task.cancel()
        await asyncio.gather(*self.retiring, return_exceptions=True)


class Reload:
    """Of one instance: `app` answers its requests, `read` reads the settings anew."""

    def __init__(self, app: FastAPI, parts: Parts, read: Callable[[], Settings]) -> None:
        self._app = app
        self._parts = parts
        self._read = read
        self._one_at_a_time = asyncio.Lock()
        self._is_ended = False
        self._is_over = False
        self._under_way = set[asyncio.Task[SettingsDifference]]()

    @property
    def services(self) -> Services:
        """Those in force."""
        services: Services = self._app.state.services
        return services

    async def __call__(self, by: str) -> SettingsDifference:
        """Read the settings and take what has changed; who wanted it is logged with what it came to.

        Raises SettingsError, StoreUnavailable and other LedgerErrors: then everything is as it was. What has begun is
        brought to its end, also where whoever asked no longer waits.
        """
        task = asyncio.create_task(self._reload(by), name="reload")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _reload(self, by: str) -> SettingsDifference:
        async with self._one_at_a_time:
            if self._is_ended:
                raise LedgerError(STOPPING)
            try:
                found = difference(self.services.settings, await asyncio.to_thread(self._checked))
                async with self._agreed(found.settings) as secrets:
                    await self._parts.announcing.change(configurations(found.settings))
            except LedgerError as error:
                log.error("reload_refused", by=by, reason=str(error))  # noqa: TRY400  (its text says it all)
                raise
            if self._is_over:
                raise LedgerError(STOPPING)
            await self._put_in_force(found.settings, secrets)
        log.info("reloaded", by=by, taken=_shown(found.taken))
        if found.restart:
            log.warning("restart_needed", settings=_shown(found.restart), way_out=WAY_OUT)
        return found

    async def end(self) -> None:
        """Take them no more; one that is under way is waited for, not for long."""
        self._is_ended = True
        try:
            async with asyncio.timeout(END_SECONDS), self._one_at_a_time:
                pass
        except TimeoutError:
            # From here on nobody would end what it puts in force.
            self._is_over = True

    def _checked(self) -> Settings:
        settings = self._read()
        expect_known(settings)
        return settings

    @contextlib.asynccontextmanager
    async def _agreed(self, settings: Settings) -> AsyncIterator[HookSecrets]:
        """The secrets in force from now on; the ledger knows them at the end, unless what is within fails."""
        stack = contextlib.ExitStack()
        try:
            replaced, secrets = await asyncio.to_thread(self._agree, settings, stack)
            yield secrets
        except BaseException as error:
            await asyncio.to_thread(stack.__exit__, type(error), error, error.__traceback__)
            raise
        await asyncio.to_thread(stack.close)
        for name in replaced:
            log.warning(
                "secret_replaced", name=name, way_out="give it to all instances, a webhook secret to the nodes, too"
            )

    def _agree(self, settings: Settings, stack: contextlib.ExitStack) -> tuple[list[str], HookSecrets]:
        """See that other instances have the secrets, make those that there are not -> which were replaced, all of them.

        The ledger knows them once `stack` is closed.
        """
        stack.enter_context(translated())
        connection = stack.enter_context(session.connect(self._parts.database_url, "start"))
        stack.enter_context(connection.transaction())
        replaced = shared_secrets.agree(connection, settings, self._parts.folder, settings.sources)
        return replaced, hook_secrets(settings, self._parts.folder)

    async def _put_in_force(self, settings: Settings, secrets: HookSecrets) -> None:
        """From here on nothing fails."""
        parts, before = self._parts, self.services
        configure_logging(settings.log_level, settings.log_format)
        names = node_names(settings)
        before.counters.know(names)
        before.refusals.know(names)
        services = _services(before, settings, secrets)
        put_in_force(self._app, services)
        if services.forwarding is not before.forwarding:
            self._retire(before.forwarding)
        if (query_nodes(before.settings), before.settings.policy, drift_window(before.settings)) != (
            query_nodes(settings), settings.policy, drift_window(settings),
        ):  # fmt: skip
            services.reconciliation.change(query_nodes(settings), drift_window(settings))
        await services.asked.change(settings.asked_again_seconds)
        await parts.processes.change(settings)
        await parts.canaries.change({source.name: source.canaries for source in settings.sources})
        if _alerting_of(before.settings) != _alerting_of(settings):
            await parts.alerting.stop()
            parts.alerting = parts.make_alerting(settings, services)
            parts.alerting.start()
            self._app.state.figures.alerts_here = parts.alerting.on
        if gone := node_names(before.settings).keys() - names.keys():
            await parts.announcing.leave(gone)

    def _retire(self, forwarding: Forwarding) -> None:
        """Close it once nobody uses it any longer."""

        async def close() -> None:
            try:
                await asyncio.sleep(RETIRED_SECONDS)
            finally:
                await forwarding.close()

        task = asyncio.create_task(close(), name="retired forwarding")
        self._parts.retiring.add(task)
        task.add_done_callback(self._parts.retiring.discard)


def _services(before: Services, settings: Settings, secrets: HookSecrets) -> Services:
    """Those of before with other settings; what does not depend on them is the same."""
    names = [source.name for source in settings.sources]
    is_same = before.settings.sources == settings.sources
    forwarding = before.forwarding
    if not is_same:
        forwarding = Forwarding({source.name: source for source in settings.sources}, before.counters)
    return dataclasses.replace(
        before,
        settings=settings,
        reach=before.reach.with_policy(settings.reach),
        streams=before.streams if is_same else SourceStreams(before.ledger, names),
        forwarding=forwarding,
        loss_windows=before.loss_windows if is_same else KeptWindows(names),
        hook_secrets=secrets,
    )


def _alerting_of(settings: Settings) -> tuple[object, ...]:
    """What alerts depend on."""
    return settings.sources, settings.policy, settings.sinks, settings.notify, settings.alerts


def _shown(changes: tuple[SettingChange, ...]) -> list[str]:
    return [f"{each.setting} {each.kind}" for each in changes]
