"""The part of `replay` that judges a slice again, or the ledger's own users and time: what differs, for people."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import typer

from ledger.cli.access import connected_to, started_database_url
from ledger.cli.arguments import parse_instant
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import duration, print_json, say
from ledger.cli.progress import shown
from ledger.cli.slice_options import parse_selection, slice_of_ledger
from ledger.cli.times import header
from ledger.cli.times import shown as shown_at
from ledger.domain.instants import from_datetime, to_datetime
from ledger.domain.observation import SECOND
from ledger.domain.policy import RULES_VERSION, Policy
from ledger.errors import SettingsError
from ledger.replay.of_ledger import PartlyArchived, at_one_moment, judge_share
from ledger.replay.processes import judge_in_processes, processes_for
from ledger.replay.replayed import NOT_JUDGED_AGAIN, Replayed
from ledger.replay.shown import Pair
from ledger.replay.slice import Trial, replay_slice
from ledger.settings import Settings
from ledger.settings.policy import override_policy
from ledger.slices.form import LedgerLine, Slice
from ledger.slices.reading import SliceFile
from ledger.slices.taking import SliceScope
from ledger.store.mapper import EventMapper
from ledger.text import counted

BLANK = " "
"""A cell in which nothing is missing."""

SHOWN_USERS = 20
"""Those who differ longest."""


class SliceOptions(NamedTuple):
    """The options of `replay` that are about slices and the ledger, as they were given."""

    policy: Sequence[str]
    until: str | None
    users: Sequence[str] | None
    since: str | None
    to: str | None
    processes: int | None
    summary: bool


def parse_policy(assignments: Sequence[str]) -> Policy:
    """The default policy with these numbers. Raises typer.BadParameter."""
    try:
        return override_policy(Policy(), assignments)
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error


def replay_of_slice(context: typer.Context, file: Path | None, options: SliceOptions, *, as_json: bool) -> None:
    """Judge a slice again, of the ledger in use where no file is named. Raises LedgerError, typer.BadParameter."""
    until = parse_instant(options.until, "--until")
    parse_policy(options.policy)
    # Not a closure: it goes to other processes.
    change = partial(override_policy, assignments=tuple(options.policy))
    trial = Trial(change, None if until is None else from_datetime(until), with_stories=not options.summary)
    if options.processes is not None and (file is not None or options.users):
        raise typer.BadParameter(
            "--processes share the users of the whole ledger; a slice, or --user, is judged by one"
        )
    result = _replayed(context, file, options, trial)
    if as_json:
        print_json(result.as_dict())
    else:
        _print(result)


def _replayed(context: typer.Context, file: Path | None, options: SliceOptions, trial: Trial) -> Replayed:
    mapper = EventMapper()
    if file is not None:
        return _of_file(file, mapper, trial)
    settings, wanted = settings_from(context), parse_selection(options.users, options.since, options.to)
    if wanted.users is None:
        try:
            return _of_ledger(settings, wanted, mapper, options.processes, trial)
        except PartlyArchived as error:
            if options.processes is not None:
                say(str(error))
    with slice_of_ledger(settings, wanted, mapper, "replaying") as taken:
        return replay_slice(taken, mapper, trial)


def _of_ledger(
    settings: Settings, wanted: SliceScope, mapper: EventMapper, processes: int | None, trial: Trial
) -> Replayed:
    """By as many processes as are asked for, or are worth it. Raises PartlyArchived."""
    with (
        started_database_url(settings) as url,
        connected_to(url) as connection,
        shown("replaying", "positions") as progress,
        at_one_moment(connection, mapper, wanted) as moment,
    ):
        number = processes or processes_for(moment.positions, len(os.sched_getaffinity(0)))
        if number > 1:
            return judge_in_processes(url, moment, trial, number, progress)
        return judge_share(connection, moment, trial, lambda behind: progress(behind, moment.positions))


def _of_file(file: Path, mapper: EventMapper, trial: Trial) -> Replayed:
    found = SliceFile(file)
    with shown("replaying", "lines") as progress:

        def lines() -> Iterator[LedgerLine]:
            for number, line in found.lines():
                progress(number, 0)
                yield line

        return replay_slice(Slice(found.header, lines()), mapper, trial)


def _print(result: Replayed) -> None:
    differing = sorted(
        ((uid, pair) for uid, pair in result.side_by_side.users.items() if not pair.same),
        key=lambda each: (-each[1].differing, each[0]),
    )
    if differing and result.with_stories:
        print_table(
            ("uid", header("recorded"), BLANK, header("replayed"), BLANK, "differs for"),
            [row for uid, pair in differing[:SHOWN_USERS] for row in _rows(uid, pair)],
        )
    elif differing:
        rows = [(uid, f"{pair.differing / SECOND:g} s") for uid, pair in differing[:SHOWN_USERS]]
        print_table(("uid", "differs for"), rows)
    if len(differing) > SHOWN_USERS:
        say(f"and {len(differing) - SHOWN_USERS} more users; --json prints all of them")
    names = sorted(result.recorded | result.replayed)
    print_table(
        ("verdict", "recorded", "replayed"), [(name, result.recorded[name], result.replayed[name]) for name in names]
    )
    _say_whole(result, len(differing))


def _rows(uid: str, pair: Pair) -> Iterator[tuple[object, ...]]:
    """A user's transitions, side by side."""
    name, seconds = uid, f"{pair.differing / SECOND:g} s"
    for then, now in zip_longest(pair.recorded, pair.replayed):
        yield (name, *_cells(then), *_cells(now), seconds)
        name, seconds = BLANK, BLANK


def _cells(transition: tuple[int, str] | None) -> tuple[str, str]:
    return (BLANK, BLANK) if transition is None else (shown_at(to_datetime(transition[0])), transition[1])


def _say_whole(result: Replayed, differing: int) -> None:
    same = f"{counted(result.repeated, 'verdict')} came out the same, {result.differing:,} did not"
    say(f"{counted(result.events, 'event')} judged again: {same}")
    for why, number in sorted(result.not_repeatable.items()):
        say(f"{number} could not be judged again: {why}")
    if differing:
        seconds, users = duration(result.side_by_side.differing_seconds), len(result.side_by_side.users)
        say(f"shown differently: {differing:,} of {counted(users, 'user')}, for {seconds} in all")
    else:
        say("every user would have been shown the same at all times")
    if others := sorted(result.rules - {RULES_VERSION}):
        versions = ", ".join(map(str, others))
        say(f"what was recorded was judged by the rules of version {versions}; these are version {RULES_VERSION}")
    if taken := sorted(result.changed.keys() & NOT_JUDGED_AGAIN):
        say(f"taken as recorded, since the evidence cannot show what {', '.join(taken)} would lead to")
