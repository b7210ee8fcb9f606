"""The commands `archive` and `archive verify`: old events leave the database as sealed files, which are proven."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

from ledger.archive_folder import Folder
from ledger.cli import progress
from ledger.cli.access import connected_to, started_database_url
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line, say
from ledger.cli.verify import as_fields, require_intact, seal_keys_from
from ledger.cli.verify import told as checked
from ledger.cli.words import number_of, told
from ledger.ingest import unarchiving
from ledger.ingest.archiving import Archived, Archiving, Retention
from ledger.ingest.clock import Clock
from ledger.ingest.unarchiving import Restored
from ledger.settings import Settings
from ledger.store.archive import strangers
from ledger.store.ledger import Ledger
from ledger.store.seal import SealKeys
from ledger.store.verified import Extent
from ledger.store.verify_moment import verify_moment

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Move old events to sealed files; prove them. Example: presence-ledger archive",
)


@app.callback(invoke_without_command=True)
def archive(context: typer.Context, as_json: AsJson = False) -> None:
    """Archive now what is older than retention.events_days: events of users leave the database for sealed files.

    A whole partition at a time, the oldest first. Its files are written, read again and held against the seals; only
    then it is taken out of the database, for which nobody waits. Whatever ends it in between, nothing is lost: begin
    again. The service may run meanwhile, and does the same by itself once an hour.

    Example: presence-ledger archive
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(context)
    keys = seal_keys_from(settings)
    done = [] if not settings.events_days else list(_archived(settings, keys))
    if as_json:
        print_json({"items": [_fields(each) for each in done], "events_days": settings.events_days})
    elif not settings.events_days:
        say(told("nothing is archived: retention.events_days is 0, so events stay in the database for ever"))
    elif not done:
        days = number_of(round(settings.events_days), "day")
        say(told("nothing to archive: no whole partition is older than {days}", days=days))


@app.command()
def verify(context: typer.Context, as_json: AsJson = False) -> None:
    """Check every archived file against its seals, and the seals against each other; exits 1 where one was altered.

    The first file that is missing or altered is named, with the position; and those that are in the folder though the
    ledger does not know them, as where it went back. `presence-ledger verify` checks these files and the database. The
    service may run meanwhile.

    Example: presence-ledger archive verify
    """
    settings = settings_from(context)
    keys = seal_keys_from(settings)
    with (
        started_database_url(settings) as url,
        connected_to(url) as connection,
        progress.shown("verifying") as update,
    ):
        verified = verify_moment(connection, keys, update, Extent(archive=settings.archive_dir, only_archive=True))
        # What was altered is not to be hidden by a folder that cannot be listed.
        unknown = strangers.found(connection, settings.archive_dir) if verified.is_intact else None
    if as_json:
        print_json(as_fields(verified, keys) | {"files": verified.files, "unknown": unknown})
        raise typer.Exit(not verified.is_intact)
    require_intact(verified)
    print_line(f"intact: {number_of(verified.files, 'file')}, {checked(verified)}")
    if unknown:
        _say_unknown(settings.archive_dir, unknown)


@app.command()
def restore(context: typer.Context, as_json: AsJson = False) -> None:
    """Put all archived events back into the database, for who gives the archive up; their files are removed then.

    The latest partition first, each proven by its file's digest. Nobody waits for it, and whatever ends it in between,
    nothing is lost. Set retention.events_days to 0 before, or they leave again within the hour.

    Example: presence-ledger archive restore
    """
    settings = settings_from(context)
    keys = seal_keys_from(settings)
    done: list[Restored] = []
    with (
        started_database_url(settings) as url,
        connected_to(url),
        _ledger(url, keys) as ledger,
        progress.shown("restoring") as update,
    ):
        done.extend(unarchiving.restore(ledger, url, settings.archive_dir, update))
    if as_json:
        print_json({"items": [each._asdict() for each in done]})
        return
    events = number_of(sum(each.events for each in done), "event")
    say(told("{events} are in the database again", events=events))


def _archived(settings: Settings, keys: SealKeys) -> Iterator[Archived]:
    older_than = datetime.now(UTC) - timedelta(days=settings.events_days)
    retention = Retention(older_than, settings.archive_dir, [sink.name for sink in settings.sinks])
    with (
        started_database_url(settings) as url,
        connected_to(url),
        _ledger(url, keys) as ledger,
        progress.shown("archiving") as update,
    ):
        for done in Archiving(ledger, url, retention, Clock().now, update).run():
            events, files = number_of(done.events, "event"), number_of(sum(1 for f in done.files if f.events), "file")
            say(
                told(
                    "{events} up to position {position} are in {files} in {folder}",
                    events=events,
                    position=f"{done.before - 1:,}",
                    files=files,
                    folder=settings.archive_dir,
                )
            )
            yield done


@contextmanager
def _ledger(url: str, keys: SealKeys) -> Iterator[Ledger]:
    ledger = Ledger(url, next(iter(keys.values())), 2)
    try:
        yield ledger
    finally:
        ledger.close()


def _say_unknown(folder: Folder, names: list[str]) -> None:
    files = number_of(len(names), "file")
    say(told("not of this ledger: {files} in {folder}, which no erasure reaches:", files=files, folder=folder))
    for name in names:
        say(name)
    say(told("delete them, unless another ledger uses this folder; then give each its own"))


def _fields(done: Archived) -> dict[str, Any]:
    return {
        "partition": done.partition,
        "first": done.first,
        "last": done.before - 1,
        "events": done.events,
        "files": [
            {"name": each.name, "events": each.events, "size": each.size, "sha256": each.sha256}
            for each in done.files
            if each.events
        ],
    }
