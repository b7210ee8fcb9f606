"""A simulation in real time: posts the world's webhooks, serves its query APIs, records, and sums up."""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2

from ledger.simulator.agenda import Task
from ledger.simulator.answers import QueryApi
from ledger.simulator.api import NodeApi, make_app
from ledger.simulator.commands import ReceivedCommands
from ledger.simulator.doors import Doors
from ledger.simulator.events import EVENT, Action, Answer, AnsweredWebhook, Arrival, SimulatedEvent, Totals
from ledger.simulator.lies import Lies
from ledger.simulator.node_answers import NodeAnswers
from ledger.simulator.node_faults import DOWN_SECONDS, RESTART_RETURNS, Returns
from ledger.simulator.plan import Plan, PlanError, TargetUnreachableError
from ledger.simulator.recording import Recorder, first_line
from ledger.simulator.world import SimulatedWorld

REACH_SECONDS = 3.0
DRAIN_SECONDS = 2.0
TICK_SECONDS = 0.005
"""What happens within a tick happens together: thousands of clients that return do not each wake us."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to: seed, length in seconds, sums, and the users who really were online at its end."""

    seed: int
    seconds: float
    totals: Totals
    online: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON-ready values."""
        return {
            "seed": self.seed,
            "seconds": round(self.seconds, 3),
            **asdict(self.totals),
            "truth_online": len(self.online),
        }


class Simulation:
    """One run of a plan. `on_event` is called for every action and for every webhook once it is answered.

    `run` ends after the plan's seconds, after `stop`, or when it is cancelled; it cleans up in each case.
    """

    def __init__(self, plan: Plan, on_event: Callable[[SimulatedEvent], None] | None = None) -> None:
        self.plan = plan
        self.world = SimulatedWorld(plan)
        self.commands = ReceivedCommands(self.world.cluster)
        """What the nodes were told to send to clients, and who received it."""
        self.doors = Doors(plan, self.world, self._put)
        """Where real clients connect, and whom they let in."""
        self._on_event = on_event
        self._hooks = {node.name: f"{plan.hook_url(node)}?event={EVENT}" for node in plan.nodes}
        self._started = self._started_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._woken = asyncio.Event()
        self._posting: set[asyncio.Task[None]] = set()
        self._apis: dict[str, NodeApi] = {}
        self._recorder: Recorder | None = None
        self._arrivals = 0
        self.world.agenda.soon = self._soon

    @property
    def api_urls(self) -> dict[str, str]:
        """The address of each node's query API, for those that have one; known once `run` has begun."""
        return {name: f"http://127.0.0.1:{api.port}" for name, api in self._apis.items()}

    @property
    def lies(self) -> Lies:
        """The lies of the query APIs, to be told from now on; they may be asked for from any thread."""
        return self.world.lies

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far; 0 before it has begun."""
        return self._elapsed() if self._loop is not None else 0.0

    def crash(self, node: str, *, down_seconds: float = DOWN_SECONDS, returns: Returns = RESTART_RETURNS) -> None:
        """Kill a node now; it boots after `down_seconds`. May be called from any thread; one that is down stays so.

        `returns`: the share of its clients that come back, evenly between how many seconds after the boot.
        Raises PlanError for a node that the plan does not have.
        """
        self._soon(partial(self.world.faults.crash, self._known(node), returns, down_seconds))

    def shut_down(self, node: str, *, down_seconds: float = DOWN_SECONDS, returns: Returns = RESTART_RETURNS) -> None:
        """The same by SIGTERM, in the manner of the version."""
        self._soon(partial(self.world.faults.stop, self._known(node), returns, down_seconds))

    def scale_in(self, node: str, *, returns: Returns = RESTART_RETURNS) -> None:
        """Take a node out of the cluster: its slots go to the others, and it stops for good. From any thread."""
        self._soon(partial(self.world.faults.scale_in, self._known(node), returns))

    def mute(self, seconds: float) -> None:
        """Whatever the nodes have to say is lost, from now on and for so long. From any thread."""
        self._soon(partial(self.world.transport.mute, seconds))

    def bring(self, uids: Iterable[str]) -> None:
        """Let these users connect now, with one device each. From any thread."""
        for uid in uids:
            self._soon(partial(self.world.population.connect, uid, 0, f"{uid}-d0"))

    def dismiss(self, uids: Iterable[str]) -> None:
        """Let these users close all their connections now. From any thread."""
        for uid in uids:
            self._soon(partial(self.world.population.close_all, uid))

    def keep_rows(self, share: float) -> None:
        """Of so many connections that close from now on `/connz` keeps the row, and the offline comes at each ping."""
        self._soon(partial(setattr, self.world.population, "rows_kept", share))

    def calm(self, *, traffic: bool = True) -> None:
        """No fault and no lie from now on; with `traffic` False nobody comes or goes either. From any thread."""
        self._soon(partial(self.world.calm, traffic=traffic))

    def truth(self) -> dict[str, list[tuple[float, float]]]:
        """When everybody who ever connected really was online, (from, to) in seconds of the run, up to now."""
        return self.world.truth()

    def _known(self, node: str) -> str:
        if node not in self.world.cluster.nodes:
            raise PlanError(f"unknown node {node}; the plan has: {', '.join(self.world.cluster.nodes)}")
        return node

    def _soon(self, task: Task) -> None:
        if self._loop is None:
            self.world.agenda.at(0.0, task)
        else:
            self._loop.call_soon_threadsafe(self._put, task)

    def _put(self, task: Task) -> None:
        self.world.agenda.at(self._elapsed(), task)
        self._woken.set()

    def stop(self) -> None:
        """Let `run` end soon, as if its time were over."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> RunSummary:
        """Run the plan.

        Raises TargetUnreachableError if nothing listens at any hook, PlanError if an API's port is taken.
        """
        await self._reach()
        async with AsyncExitStack() as stack:
            if self.plan.record is not None:
                write = stack.enter_context(self.plan.record.open("w", encoding="utf-8")).write
                self._recorder = Recorder(write)
                stack.callback(lambda recorder: recorder.close(self._elapsed()), self._recorder)
            # A client would log each URL with its secret; its transport logs none, and follows no redirect either.
            client = await stack.enter_async_context(httpx2.AsyncHTTPTransport())
            stack.push_async_callback(self._silence)
            self._started, self._started_at = time.monotonic(), time.time()
            self._loop = asyncio.get_running_loop()
            if self._recorder is not None:
                self._recorder.put(first_line(self.plan, self._started_at))
            await self._serve_apis()
            await self.doors.open()
            await self._live(client)
            await self._drain()
        return RunSummary(self.plan.seed, self._elapsed(), self.world.totals, tuple(self.world.online()))

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    async def _reach(self) -> None:
        addresses = []
        for hook in self._hooks.values():
            url = urlsplit(hook)
            addresses.append((url.hostname or "", url.port or (443 if url.scheme == "https" else 80)))
        for host, port in addresses:
            try:
                async with asyncio.timeout(REACH_SECONDS):
                    _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return
            except (OSError, TimeoutError):
                continue
        where = ", ".join(sorted({f"{host}:{port}" for host, port in addresses}))
        raise TargetUnreachableError(
            f"nothing listens at {where}: start the service there, or give its webhook URL with --node"
        )

    async def _serve_apis(self) -> None:
        api = QueryApi(self.world.cluster, self._started_at, self.plan.token)
        node_answers = NodeAnswers(api, self.world.lies, self.commands)
        for node in self.plan.nodes:
            if node.api_port is not None:
                app = make_app(node_answers, node.name, self._elapsed)
                self._apis[node.name] = NodeApi(app, node.api_port, partial(self._breaks, node.name))
                await self._apis[node.name].start()

    def _breaks(self, node: str) -> Literal["cut", "reset"] | None:
        return self.world.lies.breaks(node, self._elapsed())

    async def _live(self, client: httpx2.AsyncHTTPTransport) -> None:
        end = self.plan.seconds
        while not self._stopping.is_set():
            now = self._elapsed()
            self._woken.clear()
            for event in self.world.advance(now if end is None else min(now, end)):
                await self._happen(event, client)
            if end is not None and now >= end:
                return
            next_at = self.world.next_at()
            until = max(min(t for t in (next_at, end, now + 1.0) if t is not None), now + TICK_SECONDS)
            try:
                async with asyncio.timeout(max(0.0, until - self._elapsed())):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _happen(self, event: Action | Arrival, client: httpx2.AsyncHTTPTransport) -> None:
        if isinstance(event, Arrival):
            self._arrivals += 1
            if self._recorder is not None:
                self._recorder.expect(self._arrivals, event.t)
            task = asyncio.create_task(self._post(event, self._arrivals, client))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)
            return
        self._tell(event, None)
        name = str(event.line.get("node"))
        ports = [port for port in (self._apis.get(name), self.doors.of(name)) if port is not None]
        for port in ports:
            if event.do in ("crash", "stop", "scale_in"):
                await port.shut()
            elif event.do == "start" and event.t > 0:
                await port.open()

    async def _post(self, arrival: Arrival, key: int, client: httpx2.AsyncHTTPTransport) -> None:
        answer = await self._answer(arrival, client)
        self.world.answered(arrival, self._elapsed(), answer)
        self._woken.set()
        if answer == "refused" and self._recorder is not None:
            self._recorder.give_up(key)
        self._tell(AnsweredWebhook(arrival, answer), key)

    async def _answer(self, arrival: Arrival, client: httpx2.AsyncHTTPTransport) -> Answer:
        headers = {"content-type": "application/json"}
        request = httpx2.Request("POST", self._hooks[arrival.node], content=arrival.body, headers=headers)
        try:
            async with asyncio.timeout(arrival.patience_seconds):
                response = await client.handle_async_request(request)
                await response.aread()
        except httpx2.ConnectError:
            return "refused"
        except TimeoutError:
            return "slow"
        except httpx2.TransportError:
            return "reset"
        return "ok" if response.status_code == 200 else str(response.status_code)

    def _tell(self, event: SimulatedEvent, key: int | None) -> None:
        refused = isinstance(event, AnsweredWebhook) and event.answer == "refused"
        if self._recorder is not None and not refused:
            self._recorder.add(event, key)
        if self._on_event is not None:
            self._on_event(event)

    async def _drain(self) -> None:
        if self._posting:
            await asyncio.wait(self._posting, timeout=DRAIN_SECONDS)

    async def _silence(self) -> None:
        for task in list(self._posting):
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)
        await self.doors.shut()
        for api in self._apis.values():
            await api.stop()
