"""The command `reconcile`: has the service look at users now, shows how far it is, and what it found."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated

import typer

from ledger.cli.client import Json, ServiceClient, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, duration, is_terminal, print_json, print_line, say
from ledger.cli.progress import bar
from ledger.cli.queries import Url, fetch_presences, print_presences
from ledger.errors import LedgerError
from ledger.text import counted, printable

PAUSE_SECONDS = 0.2
LINE_SECONDS = 2.0
"""Between two lines where no bar can be shown."""

COUNTS = (
    "polls",
    "failed_polls",
    "looked",
    "agreed",
    "drifted",
    "corrected",
    "cleared",
    "in_flight",
    "held",
    "swept",
    "failed",
)

Update = Callable[[Json], None]


class RunFailed(LedgerError):
    """A run ended without having looked."""


def reconcile(
    context: typer.Context,
    uids: Annotated[
        list[str] | None, typer.Argument(metavar="[UID...]", help="The users to look at; all of them if none is named.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="The source to ask; may be left out if there is only one.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Look at users now, out of turn, and wait for the result: what agreed, what drifted, what was corrected.

    Example: presence-ledger reconcile u100 u200 --source main
    """
    with client(settings_from(context), url) as service:
        name = _choose(service, source)
        run = _follow(service, service.start_run(name, uids or ()))
        presences = list(fetch_presences(service, uids or ()))
        looks = {} if as_json else service.looks(name)
    if as_json:
        print_json({"run": run, "users": presences})
    else:
        _print(run, presences)
        _print_looks(looks)
    _judge(run)


def _choose(service: ServiceClient, wanted: str | None) -> str:
    names = service.sources()
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        said = "name one with --source" if wanted is None else f"unknown source '{printable(wanted)}'; choose from"
        raise typer.BadParameter(f"{said}: {', '.join(names)}")
    return wanted


def _follow(service: ServiceClient, run: Json) -> Json:
    """Asks until the run has ended -> the run at its end."""
    name = run["run"]
    try:
        with _shown(run) as update:
            while run["state"] == "running":
                update(run)
                time.sleep(PAUSE_SECONDS)
                run = service.run(name)
            update(run)
    except KeyboardInterrupt:
        say(f"the run goes on: {service.url}/v1/runs/{name}")
        raise
    return run


def _shown(run: Json) -> AbstractContextManager[Update]:
    """What shows how far a run is, on standard error: a bar on a terminal, lines elsewhere."""
    return _bar(run) if is_terminal(stderr=True) else _lines(run)


@contextmanager
def _bar(run: Json) -> Iterator[Update]:
    with bar(elapsed=True) as progress:
        task = progress.add_task(f"looking at {printable(run['source'])}", total=None, told="")

        def update(run: Json) -> None:
            progress.update(task, total=run["users"], completed=_done(run), told=_told(run))

        yield update


@contextmanager
def _lines(run: Json) -> Iterator[Update]:
    say(f"run {run['run']} of {run['source']} has begun")
    said_at, said = time.monotonic(), _told(run)

    def update(run: Json) -> None:
        nonlocal said_at, said
        told = _told(run)
        if told != said and time.monotonic() - said_at >= LINE_SECONDS:
            said_at, said = time.monotonic(), told
            say(told)

    yield update


def _done(run: Json) -> int:
    counts = run["counts"]
    done: int = counts["looked"] + counts["failed"]
    return done


def _told(run: Json) -> str:
    counts = run["counts"]
    users = counted(counts["looked"], "user") if run["users"] is None else _of(counts["looked"], run["users"])
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{users} looked at, {counts['drifted']} drifted{failed}"


def _of(number: int, whole: int) -> str:
    return f"{number:,} of {counted(whole, 'user')}"


def _print(run: Json, presences: Sequence[Json]) -> None:
    counts = run["counts"]
    rows: list[tuple[str, object]] = [(name.replace("_", " "), counts[name]) for name in COUNTS]
    took = run["duration_seconds"]
    rows.append(("duration", None if took is None else duration(took) if took >= 10 else f"{took:.1f} s"))
    print_table(("run", run["run"]), rows)
    if run["failures"]:
        print_line()
        print_table(("node", "why its last poll failed"), sorted(run["failures"].items()))
    if presences:
        print_line()
        print_presences(presences)


def _print_looks(looks: Json) -> None:
    """How users are looked at, and its cost where all connections are."""
    if not looks:
        return
    made = looks["all_connections"]
    print_line()
    print_line(f"{looks['route'] or 'no look'}: {looks['because']}")
    if made is not None and made["asked_at"] is not None:
        calls, connections = counted(made["calls"], "call"), counted(made["connections"], "connection")
        every = duration(made["at_least_every_seconds"])
        print_line(f"all connections are looked at every {every} at least: {calls} of budget_calls for {connections}")


def _judge(run: Json) -> None:
    """Raises RunFailed where the run says nothing about the users."""
    if run["state"] == "interrupted":
        raise RunFailed(f"Run {run['run']} was interrupted: the instance that made it has ended.\nStart another one.")
    counts = run["counts"]
    if not counts["looked"] and (counts["failed_polls"] or counts["failed"]):
        why = "; ".join(f"{node}: {reason}" for node, reason in sorted(run["failures"].items()))
        raise RunFailed(
            f"Every poll of run {run['run']} failed ({why}).\n"
            "Look at `api_url` and `token` of the nodes; nothing was changed."
        )
