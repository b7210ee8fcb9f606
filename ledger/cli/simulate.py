"""The command `simulate`: a WuKongIM that lies on command, against any service, with what it does shown live."""

import asyncio
import re
import secrets
import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

import typer
from rich.console import Group
from rich.table import Table

from ledger.cli.drawing import can_draw, console, drawn, live
from ledger.cli.output import print_json, print_line, say
from ledger.errors import LedgerError
from ledger.simulator.events import Action, AnsweredWebhook, SimulatedEvent
from ledger.simulator.plan import FAULTS, Fault, NodePlan, Plan, PlanError, Profile
from ledger.simulator.runtime import RunSummary, Simulation
from ledger.text import counted

LINES_SHOWN = 18
NODE = re.compile(r"([A-Za-z0-9_.]+)(?:=(https?://\S+))?")


Nodes = Annotated[
    list[str] | None,
    typer.Option(
        "--node",
        metavar="NAME=URL",
        help="A node and the webhook URL that it posts to; once for each node. NAME alone posts to --target.",
    ),
]
Target = Annotated[str, typer.Option(help="The service, for nodes given without a URL.")]
Source = Annotated[str, typer.Option(help="The source's name in the path, for nodes given without a URL.")]
Secret = Annotated[
    str, typer.Option(envvar="PRESENCE_LEDGER_SIMULATE_SECRET", help="The secret, for nodes given without a URL.")
]
Version = Annotated[Profile, typer.Option(help="The version to simulate.")]
Users = Annotated[int, typer.Option(min=1, help="How many users there are.")]
Seconds = Annotated[float | None, typer.Option(min=0.1, help="How long; until Ctrl-C by default.")]
Rate = Annotated[float, typer.Option(min=0.001, help="Changes of presence a second.")]
Faults = Annotated[list[str] | None, typer.Option(help=f"What goes wrong; repeatable: {', '.join(FAULTS)}.")]
FaultShare = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.99, help="The share of the webhooks that drop, duplicate, reorder and delay meet: 0.3, say."
    ),
]
StartOnline = Annotated[float, typer.Option(min=0, max=1, help="The share of the users online at the start.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same actions; random by default.")]
ApiPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the first node's query API, the next ones follow.")
]
ClientPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the first node's door for clients, the next ones follow.")
]
Token = Annotated[str, typer.Option(help="The managerToken that the query API asks for (v1, v2).")]
IdleSeconds = Annotated[float, typer.Option(min=0.1, help="The nodes' connIdleTime.")]
Record = Annotated[Path | None, typer.Option(help="Write the run as a recording that `replay` reads.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line; the summary comes last.")]


def simulate(
    *,
    node: Nodes = None,
    target: Target = "http://127.0.0.1:8640",
    source: Source = "main",
    secret: Secret = "",
    profile: Version = "v2.2",
    users: Users = 20,
    seconds: Seconds = None,
    rate: Rate = 5.0,
    fault: Faults = None,
    fault_share: FaultShare = None,
    start_online: StartOnline = 0,
    seed: Seed = None,
    api_port: ApiPort = None,
    client_port: ClientPort = None,
    token: Token = "",
    idle_seconds: IdleSeconds = 20.0,
    record: Record = None,
    as_json: AsJson = False,
) -> None:
    """Run a simulated WuKongIM: users come and go, its nodes send webhooks and answer queries, and faults happen.

    Example: presence-ledger simulate --node n1=http://127.0.0.1:8640/hooks/main/n1/SECRET --profile v2.2
    --fault duplicate --fault restart --seconds 60 --record run.jsonl
    """
    nodes = _nodes(node or ["n1"], secret, api_port, client_port)
    # A plan refuses those that it does not know.
    faults = cast("frozenset[Fault]", frozenset(fault or ()))
    seed = secrets.randbelow(2**31) if seed is None else seed
    try:
        plan = Plan(
            target, source, nodes, profile, users, seconds, rate, faults, seed, record, token, idle_seconds,
            fault_share, start_online,
        )  # fmt: skip
    except PlanError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        summary = asyncio.run(_show(plan, as_json=as_json))
    except (LedgerError, OSError) as error:
        say(str(error))
        raise typer.Exit(1) from error
    if as_json:
        print_json({"summary": summary.as_dict()}, indent=None)
    else:
        print_line(summary_text(summary))


def _nodes(texts: list[str], secret: str, api_port: int | None, client_port: int | None) -> tuple[NodePlan, ...]:
    """The nodes that the options name. Raises typer.BadParameter, which is exit code 2."""
    nodes = []
    for place, text in enumerate(texts):
        match = NODE.fullmatch(text)
        if match is None or (match[2] and not urlsplit(match[2]).hostname):
            raise typer.BadParameter(
                "give NAME=URL, as n1=http://127.0.0.1:8640/hooks/main/n1/SECRET", param_hint="--node"
            )
        api, door = (port + place if port else None for port in (api_port, client_port))
        nodes.append(NodePlan(match[1], secret, api, match[2], door))
    return tuple(nodes)


async def _show(plan: Plan, *, as_json: bool) -> RunSummary:
    if as_json:
        return await _run(plan, lambda event: print_json(event_json(event), indent=None))
    head = f"seed {plan.seed}: {plan.profile}, {counted(len(plan.nodes), 'node')}, {counted(plan.users, 'user')}"
    print_line(f"{head}, faults: {', '.join(sorted(plan.faults)) or 'none'}")
    if not can_draw():
        return await _run(plan, lambda event: print_line(event_text(event)))
    return await _run(plan, None)


async def _run(plan: Plan, tell: Callable[[SimulatedEvent], None] | None) -> RunSummary:
    """Run until the end, SIGINT or SIGTERM; `tell` None draws a live table."""
    lines: deque[str] = deque(maxlen=LINES_SHOWN)
    simulation = Simulation(plan, tell or (lambda event: lines.append(event_text(event))))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, simulation.stop)
    if tell is not None:
        return await simulation.run()
    with live(console(), lambda: _screen(simulation, lines), transient=True):
        return await simulation.run()


def _screen(simulation: Simulation, lines: deque[str]) -> Group:
    world, totals = simulation.world, simulation.world.totals
    table = Table(box=None, padding=(0, 2))
    cells = {
        "seconds": f"{world.now:.0f}",
        "online": str(world.population.online_count()),
        "webhooks": str(totals.sent),
        "accepted": str(totals.accepted),
        "refused": str(totals.refused),
        "retried": str(totals.retried),
        "batches dropped": str(totals.dropped_batches),
    }
    for name in cells:
        table.add_column(name, justify="right")
    table.add_row(*cells.values())
    return Group(table, drawn("\n".join(lines), cut=True))


def event_text(event: SimulatedEvent) -> str:
    """One plain line for an event; a webhook is named by its node, never by its URL."""
    if isinstance(event, Action):
        told = ("uid", "device_flag", "device_id", "node", "lie", "what", "seconds")
        who = " ".join(str(event.line[key]) for key in told if key in event.line)
        return f"{event.t:8.3f}  {event.do:<16} {who}"
    arrival = event.arrival
    notes = [counted(arrival.items, "item"), f"answer {event.answer}"]
    notes += [f"attempt {arrival.attempt}"] if arrival.attempt > 1 else []
    notes += ["a copy"] if arrival.copy > 1 else []
    notes += ["answer lost on the way back"] if arrival.answer_lost else []
    return f"{event.t:8.3f}  {'webhook':<16} {arrival.node}  {', '.join(notes)}"


def event_json(event: SimulatedEvent) -> dict[str, Any]:
    """An event as a line of a recording, a webhook with its attempt, its copy and whether its answer was lost."""
    if isinstance(event, AnsweredWebhook):
        arrival = event.arrival
        return {
            **event.line(),
            "attempt": arrival.attempt,
            "copy": arrival.copy,
            "answer_lost": arrival.answer_lost,
        }
    return event.line


def summary_text(summary: RunSummary) -> str:
    """The end of a run, in two lines."""
    totals = summary.totals
    return (
        f"{summary.seconds:.1f} s, seed {summary.seed}: {totals.actions} actions, {totals.items} items in {totals.sent}"
        f" webhooks; {totals.accepted} accepted, {totals.refused} refused, {totals.retried} retried,"
        f" {totals.copied} copied\n"
        f"dropped: {totals.dropped_batches} batches, {totals.dropped_items} items in all;"
        f" really online now: {len(summary.online)} users"
    )
