"""`presence-ledger replay`: a recording, a slice or the ledger through the rules, on a virtual clock, in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ledger.cli.arguments import Since, Until
from ledger.cli.drawing import print_table
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.progress import shown
from ledger.cli.replay_slice import SliceOptions, parse_policy, replay_of_slice
from ledger.cli.slice_options import PolicyNumbers, Processes, StopAt, Summary, Users
from ledger.domain.observation import SECOND, Instant
from ledger.domain.policy import Policy
from ledger.errors import LedgerError
from ledger.replay.recording import Replay, ReplayResult
from ledger.slices.reading import is_slice
from ledger.sources.wukongim.recording import RecordingError, read_header, read_lines, read_texts
from ledger.text import counted

SHOWN_USERS = 50
MB = 1_000_000


Recorded = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="A recording (NDJSON) or a slice; without it, the ledger.", show_default=False),
]
WebhooksOnly = Annotated[bool, typer.Option("--webhooks-only", help="Ignore the recorded polls.")]
AllDeliveries = Annotated[
    bool, typer.Option("--all-deliveries", help="Treat refused and truncated webhooks as received, too.")
]


def replay(
    context: typer.Context,
    file: Recorded = None,
    *,
    policy: PolicyNumbers = None,
    until: StopAt = None,
    users: Users = None,
    since: Since = None,
    to: Until = None,
    webhooks_only: WebhooksOnly = False,
    all_deliveries: AllDeliveries = False,
    processes: Processes = None,
    summary: Summary = False,
    as_json: AsJson = False,
) -> None:
    """Put what was recorded through the rules again, without changing anything.

    Of a recording it shows what would have been shown of each user, what became of every item, and what reconciliation
    would have found: it looks when its plan says so, and the recorded polls answer. Of a slice, or of the ledger's own
    users and time, every verdict on record is shown next to what the rules say of the same evidence now: with --policy,
    what another number would have changed.

    Of the ledger each process judges a share of the users; the outcome is the same with any number of them. Nothing is
    written, and what is broken off starts from its beginning.

    Example: presence-ledger replay crash.jsonl --policy grace_seconds=5 --json
    """
    if file is None or is_slice(file):
        _refuse(webhooks_only=webhooks_only, all_deliveries=all_deliveries)
        if file is not None and (users or since or to):
            raise typer.BadParameter("--user, --from and --to select from the ledger; a slice is replayed whole")
        options = SliceOptions(policy or [], until, users, since, to, processes, summary)
        replay_of_slice(context, file, options, as_json=as_json)
        return
    if users or since or to:
        raise typer.BadParameter("--user, --from and --to select from the ledger, not from a recording")
    if processes or summary:
        raise typer.BadParameter("--processes and --summary are for the ledger and slices, not for a recording")
    result = _run(
        file,
        parse_policy(policy or []),
        _second(until),
        all_deliveries=all_deliveries,
        polls=not webhooks_only,
    )
    if as_json:
        print_json(result.as_dict())
    else:
        _print(result)


def _refuse(**of_recordings: bool) -> None:
    for name, given in of_recordings.items():
        if given:
            raise typer.BadParameter(f"--{name.replace('_', '-')} is for recordings")


def _second(until: str | None) -> float | None:
    """The second of a recording. Raises typer.BadParameter."""
    if until is None:
        return None
    try:
        second = float(until)
    except ValueError:
        raise typer.BadParameter(f"{until!r} is not a number of seconds", param_hint="'--until'") from None
    if not second >= 0:
        raise typer.BadParameter(f"{second} is below 0", param_hint="'--until'")
    return second


def _run(file: Path, policy: Policy, until: float | None, *, all_deliveries: bool, polls: bool) -> ReplayResult:
    try:
        size = file.stat().st_size // MB
        with file.open("rb") as stream, shown(f"replaying {file.name}", "MB") as progress:
            lines = read_texts(stream)
            header = read_header(next(lines, None))
            stop: Instant | None = None if until is None else header.started_at + round(until * SECOND)
            replayed = Replay(header, policy)

            def read() -> Iterator[str]:
                for line in lines:
                    progress(stream.tell() // MB, size)
                    yield line

            lines_read = read_lines(read(), header, stop, all_deliveries=all_deliveries, polls=polls)
            for _ in replayed.run(lines_read):
                pass
            return replayed.result
    except RecordingError as error:
        raise RecordingError(f"{file}: {error}") from error
    except OSError as error:
        raise LedgerError(f"cannot read {file}: {error.strerror}") from error


def _print(result: ReplayResult) -> None:
    rows = [
        (uid, story.status, len(story.transitions), story.events)
        for uid, story in sorted(result.users.items())[:SHOWN_USERS]
    ]
    print_table(("uid", "status", "transitions", "events"), rows)
    if len(result.users) > SHOWN_USERS:
        say(f"and {counted(len(result.users) - SHOWN_USERS, 'more user')}; --json prints all of them")
    print_table(("verdict", "items or sessions"), sorted(result.verdicts.items()))
    repeated = f", {result.repeated} of them repeated" if result.repeated else ""
    deliveries = counted(result.deliveries, "delivery", "deliveries")
    say(f"{counted(result.events, 'event')} of {counted(len(result.users), 'user')} in {deliveries}{repeated};")
    looks = f"{counted(result.corrections, 'correction')}, {counted(result.looks, 'look')}"
    say(f"{result.rejected:,} rejected, {looks}")
