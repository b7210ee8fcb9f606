"""`presence-ledger demo`: the service on a scratch data folder, and a simulated WuKongIM whose users come and go."""

import asyncio
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Group
from rich.table import Table

from ledger.cli import demo_push
from ledger.cli.demo_lines import UID_WIDTH, Story
from ledger.cli.drawing import can_draw, console, drawn, live
from ledger.cli.output import print_line, say
from ledger.errors import LedgerError
from ledger.files import replacement
from ledger.settings import ADMIN_KEY_FILE
from ledger.simulator import business_server
from ledger.simulator.business_server import BusinessServer
from ledger.simulator.plan import FAULTS, Fault, NodePlan, Plan
from ledger.simulator.ports import free_port
from ledger.simulator.runtime import Simulation

START_SECONDS = 180.0
STOP_SECONDS = 20.0
ASK_EVERY_SECONDS = 0.25
PAGE = 1000
LINES_SHOWN = 20
USUAL_FAULTS: tuple[Fault, ...] = ("duplicate", "reorder", "drop")

SETTINGS = """
data_dir = "data"
listen = "127.0.0.1:{port}"
front_listen = "127.0.0.1:{front_port}"
log_format = "json"

[[sources]]
name = "main"
profile = "v2.2"
webhook_secret = "{secret}"

forward_url = "{forward_url}"
forward_presence = true

  [[sources.nodes]]
  name = "n1"
  api_url = "http://127.0.0.1:{api_port}"

  [[sources.canary]]
  node = "n1"
  address = "127.0.0.1:{client_port}"
  uid = "{canary}"
  every_seconds = 15
"""

CANARY = "demo-canary"


def demo(
    *,
    users: Annotated[int, typer.Option(min=1, help="How many users come and go.")] = 40,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long; until Ctrl-C by default.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Changes of presence a second.")] = 4.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(help=f"What goes wrong; repeatable: {', '.join(FAULTS)}.", show_default=", ".join(USUAL_FAULTS)),
    ] = None,
) -> None:
    """See presence ledger at work: its own PostgreSQL, the service, and a WuKongIM v2.2 that does not always behave.

    Every event is shown as it is recorded, and every change as the stream tells of it. Everything lies in a scratch
    folder, which is removed at the end.

    Example: presence-ledger demo --users 100 --seconds 60 --fault restart
    """
    wanted = USUAL_FAULTS if fault is None else tuple(name for name in FAULTS if name in fault)
    unknown = sorted(set(fault or ()) - set(FAULTS))
    if unknown:
        raise typer.BadParameter(
            f"unknown: {', '.join(unknown)}; choose from {', '.join(FAULTS)}", param_hint="--fault"
        )
    folder = Path(tempfile.mkdtemp(prefix="presence-ledger-demo-"))
    try:
        (port, api_port, front_port, client_port), secret = (free_port() for _ in range(4)), secrets.token_urlsafe(24)
        plan = Plan(
            target=f"http://127.0.0.1:{port}",
            nodes=(NodePlan("n1", secret, api_port=api_port, client_port=client_port),),
            users=users,
            seconds=seconds,
            rate=rate,
            faults=frozenset(wanted),
            seed=secrets.randbelow(2**31),
        )
        say("starting PostgreSQL and the service …")
        with business_server.serving() as business:
            settings = SETTINGS.format(
                port=port,
                secret=secret,
                api_port=api_port,
                front_port=front_port,
                client_port=client_port,
                canary=CANARY,
                forward_url=business.url,
            )
            (folder / "presence-ledger.toml").write_text(settings, encoding="utf-8")
            front = f"http://127.0.0.1:{front_port}"
            with _service(folder, port, front) as (url, key):
                _introduce(url, front, key, folder)
                story = asyncio.run(_watch(plan, url, front, key, business))
        say(story.summary())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _introduce(url: str, front: str, key: str, folder: Path) -> None:
    key_file = folder / "data" / ADMIN_KEY_FILE
    say(f"the console is at {front}/ - log in with the key that `cat {key_file}` shows")
    say(f"the service listens on {url}, its API is described at {url}/docs (password: what is in {key_file}); ask it:")
    header = folder / "key.header"
    with replacement(header) as file:
        file.write(f"Authorization: Bearer {key}\n".encode())
    say(f"  curl -H @{header} {url}/v1/presence/summary")
    say(f"  curl -N -H @{header} {front}/v1/stream   (the stream: whatever changes, as it changes)")
    say(f'  eval "$(presence-ledger config database-url --env --config {folder}/presence-ledger.toml)" && psql')
    say("A toy business server gets every other webhook of WuKongIM, as if it had no ledger before it (`forwarded`).")
    say("Ctrl-C ends it. What is recorded, as it is recorded, and what the stream tells (`>>`):")


@contextmanager
def _service(folder: Path, port: int, front: str) -> Iterator[tuple[str, str]]:
    """The service as a process of its own -> (its URL, an admin key). Raises LedgerError with what it said."""
    log = folder / "service.log"
    command = [sys.executable, "-m", "ledger", "--config", str(folder / "presence-ledger.toml"), "serve"]
    with log.open("wb") as errors:
        # In a session of its own: Ctrl-C is for us, and we stop it in order.
        process = subprocess.Popen(command, stderr=errors, stdout=errors, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        asyncio.run(_answers(process, f"{url}/health/ready", log))
        asyncio.run(_answers(process, f"{front}/health/live", log))
        yield url, (folder / "data" / ADMIN_KEY_FILE).read_text(encoding="utf-8").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    async with httpx2.AsyncClient(trust_env=False) as client:
        while asyncio.get_running_loop().time() < deadline:
            if process.poll() is not None:
                raise LedgerError(f"the service did not start: {_last_line(log)}")
            try:
                if (await client.get(url)).status_code == httpx2.codes.OK:
                    return
            except httpx2.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise LedgerError(f"the service was not ready after {START_SECONDS:g} s; its log is {log}")


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "it said nothing"


async def _watch(plan: Plan, url: str, front: str, key: str, business: BusinessServer) -> Story:
    """Run the simulation, and show what the ledger records meanwhile."""
    simulation = Simulation(plan)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, simulation.stop)
    lines: deque[str] = deque(maxlen=LINES_SHOWN)
    is_drawn = can_draw()
    story = Story(lines.append, UID_WIDTH) if is_drawn else Story(print_line)
    story.forwarded = lambda: sum(business.counts().values())
    running = asyncio.create_task(simulation.run())
    beside = [
        asyncio.create_task(demo_push.chat(plan.hook_url(plan.nodes[0]), lambda: list(simulation.world.online()))),
        asyncio.create_task(demo_push.follow(front, key, story.tell_change)),
    ]
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as client:
        with _screen(simulation, story, lines) if is_drawn else nullcontext():
            await _follow(client, story, running)
    await running
    for task in beside:
        task.cancel()
    await asyncio.wait(beside)
    # Nobody counts the canary.
    story.really_online = len(set(simulation.world.online()) - {CANARY})
    return story


async def _follow(client: httpx2.AsyncClient, story: Story, running: "asyncio.Task[Any]") -> None:
    """Read the ledger page by page until the simulation is over and all it caused has been read."""
    position = 0
    over = False
    while True:
        page = await _ask(client, "/v1/ledger/events", limit=PAGE, after=position)
        for event in page["items"]:
            story.tell(event)
            position = event["position"]
        if over and not page["items"]:
            summary = await _ask(client, "/v1/presence/summary")
            story.shown_online = summary["users"]["online"]
            return
        if page["next"] is None:
            over = running.done()
            await asyncio.wait({running}, timeout=ASK_EVERY_SECONDS)


async def _ask(client: httpx2.AsyncClient, path: str, **params: int) -> Any:
    response = await client.get(path, params=params)
    if response.status_code != httpx2.codes.OK:
        raise LedgerError(f"the service answered {response.status_code} to {path}: {response.text[:200]}")
    return response.json()


def _screen(simulation: Simulation, story: Story, lines: deque[str]) -> AbstractContextManager[object]:
    """On a terminal counters above the last lines; elsewhere the lines are printed one by one."""
    return live(console(), lambda: _table(simulation, story, lines))


def _table(simulation: Simulation, story: Story, lines: deque[str]) -> Group:
    table = Table(box=None, padding=(0, 2))
    cells = {"seconds": f"{simulation.world.now:.0f}", "really online": str(simulation.world.population.online_count())}
    cells |= {name: str(number) for name, number in story.counts().items()}
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    return Group(table, drawn("\n".join(lines), cut=True))
