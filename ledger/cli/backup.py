"""The commands `backup` and `restore`: the embedded database in one file and back, each proven by a verify."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import psycopg
import typer

from ledger import __version__
from ledger.archive_folder import Folder
from ledger.cli.access import connected_to, started_database_url
from ledger.cli.invocation import settings_from
from ledger.cli.output import print_line, say
from ledger.cli.progress import Update, shown
from ledger.cli.times import in_full
from ledger.cli.verify import checked, newest, require_intact, seal_keys_from
from ledger.errors import LedgerAltered, SealKeyMissing
from ledger.settings import SEAL_KEY_FILE, Settings, known_seal_keys
from ledger.store import api_keys, erased, identity, migrate, raw_events, restored, seal_head
from ledger.store import backup as backups
from ledger.store.backup import LINE_BYTES, Backup, BackupError, BackupUnproven
from ledger.store.data_folder import DataFolder
from ledger.store.dump import dump, load
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.replacing import replacing, unusable
from ledger.store.seal import SealKeys, seal_keys
from ledger.store.seal_head import HeadError, HeadKeyMissing, SealHead
from ledger.store.verified import Extent
from ledger.store.verify import snapshot, verify
from ledger.store.verify_moment import is_outdated
from ledger.text import counted
from ledger.working_state import backups as backups_made
from projections.engine import switch

MB = 1_000_000

NO_KEY = (
    f"It is not in a backup: put the {SEAL_KEY_FILE} of the service that made it into data_dir, or set seal_keys; "
    "--unproven restores without it."
)
UNPROVEN = "Nothing was changed. --unproven restores it anyway, and lists the API keys in it."
NOT_PROVEN = "not proven: whatever no seal covers, above all the API keys"
NOTHING_PROVEN = "not proven: anything; without the seal key neither events nor API keys could be checked"

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup's file.")]


def backup(context: typer.Context, file: File) -> None:
    """Write the embedded database into a file, while the service runs, and prove that what is in it is intact.

    The file replaces an older one of its name when all went well. It holds everything but the keys and secrets of the
    data folder: keep `seal.key` elsewhere, for without it a backup cannot be restored.

    Example: presence-ledger backup /mnt/elsewhere/ledger.backup
    """
    settings = _embedded(context)
    keys = seal_keys_from(settings)
    with started_database_url(settings) as url:
        with connected_to(url) as connection, replacing(file) as target, snapshot(connection):
            made = _write(settings, url, connection, keys, target)
        with connected_to(url) as connection:
            # Who is erased later is still in it.
            backups_made.note(connection, made.head["position"])
    print_line(f"{file}: {_told(made, 'intact')}")


def restore(
    context: typer.Context,
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the ledger that is there; its events are lost.")
    ] = False,
    unproven: Annotated[
        bool,
        typer.Option(
            "--unproven",
            help="Restore it although nothing proves it: its seal key is lost, or an earlier version made it.",
        ),
    ] = False,
) -> None:
    """Bring a backup back into the embedded database, verified before it replaces what is there.

    The service must be stopped. `seal.key` of the service that made the backup, or `seal_keys`, must be here: with it
    all of the file is checked, API keys included. --unproven does without and says what was not checked.

    Example: presence-ledger restore /mnt/elsewhere/ledger.backup
    """
    settings = _embedded(context)
    try:
        archive = file.open("rb")
    except OSError as error:
        raise unusable(file, error) from error
    # What is restored is read from the very file that was checked, whatever happens to its name meanwhile.
    with archive, DataFolder(settings.data_dir):
        made = backups.read_line(archive, file)
        keys = _keys(settings, made, file, unproven=unproven)
        with shown("reading", "MB") as update:
            backups.check(archive, file, made, _in_mb(update))
        postgres = EmbeddedPostgres(settings.data_dir)
        try:
            url = postgres.start()
            back = _erased_since(url, made)
            _restore(settings, url, archive, file, made, keys, replace=replace)
            if unproven:
                _say_unproven(url, keys, made)
        finally:
            postgres.stop()
    print_line(f"restored: {_told(made, 'unproven' if unproven else 'intact')}")
    if back:
        say(
            f"{counted(back, 'user')} had been erased since this backup, and {'is' if back == 1 else 'are'} back: "
            "erase them again"
        )


def _erased_since(url: str, made: Backup) -> int:
    """How many were erased, in the ledger that is to be replaced, since the backup was made."""
    with connected_to(url) as connection:
        there = connection.execute("SELECT to_regclass('events') IS NOT NULL").fetchone() == (True,)
        position = made.head.get("position")
        return erased.number_since(connection, position) if there and isinstance(position, int) else 0


def _embedded(context: typer.Context) -> Settings:
    settings = settings_from(context)
    if settings.database_url:
        raise BackupError(
            "database_url is set: that PostgreSQL is not the embedded one.\n"
            "Back it up with its own tools (pg_dump, pg_restore), and check it with `presence-ledger verify`."
        )
    return settings


def _write(
    settings: Settings, url: str, connection: psycopg.Connection[Any], keys: SealKeys, target: BinaryIO
) -> Backup:
    """Dump what this snapshot sees, verify the same, and read back what was written."""
    # Before the moment is chosen: of a table that a rebuild, or a first partition, puts in another's place later, the
    # dump would see no row.
    connection.execute(
        "LOCK TABLE events, current, in_doubt, sessions, sessions_trimmed, snapshots, drifts, transitions, untold,"
        " blind_times IN ACCESS SHARE MODE"
    )
    exported = connection.execute("SELECT pg_export_snapshot()").fetchone()
    assert exported is not None
    target.write(b" " * LINE_BYTES)
    with shown("dumping", "MB") as update:
        # What a rebuild has half filled is of no use, and would hold the rebuild up.
        written = dump(settings.data_dir, url, exported[0], target, _in_mb(update), without=switch.SCHEMA)
    with shown("verifying") as update:
        verified = verify(connection, keys, update, Extent(archive=settings.archive_dir))
    with connected_to(url) as outside:
        if is_outdated(outside, verified):
            raise BackupError(
                "A user was erased meanwhile, and a file of the archive replaced that the backup would name.\n"
                "It was not written; begin again."
            )
    try:
        require_intact(verified)
    except LedgerAltered as error:
        raise LedgerAltered(
            f"{error}\nThe backup was not written: the seals would not prove all that is in it. A copy of data_dir, "
            "made while nothing runs, keeps the ledger as it is."
        ) from error
    target.flush()
    target.seek(LINE_BYTES)
    with shown("reading back", "MB") as update:
        found = backups.digest(target, _in_mb(update), written[0])
    if found != written:
        raise BackupError(
            "What was read back is not what was written.\nThe disk is failing: write the backup elsewhere."
        )
    made_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    key = newest(keys)
    made = Backup(made_at, __version__, seal_head.to_fields(verified.head, key), *written).signed(key)
    target.seek(0)
    target.write(backups.first_line(made))
    return made


def _keys(settings: Settings, made: Backup, file: Path, *, unproven: bool) -> SealKeys:
    """The seal keys that are here, if they prove the backup; `unproven` takes what they cannot. Raises BackupError."""
    keys = seal_keys(known_seal_keys(settings))
    try:
        made.prove(keys, file)
    except BackupUnproven as error:
        if not unproven:
            raise BackupError(f"{error}\n{NO_KEY if made.key_id else UNPROVEN}") from error
    return keys


def _restore(
    settings: Settings, url: str, archive: BinaryIO, file: Path, made: Backup, keys: SealKeys, *, replace: bool
) -> None:
    """Restore next to the ledger, verify that, and only then put it in the ledger's place."""
    if not replace and (events := _events(url)):
        raise BackupError(
            f"There is already a ledger of {counted(events, 'event')} in {settings.data_dir}.\n"
            "Restore into another data_dir, or replace that ledger with --replace."
        )
    with restored.scratch_database(url) as scratch:
        archive.seek(LINE_BYTES)
        with shown("restoring", "MB") as update:
            # Once more: the file may have been written to since it was checked.
            backups.compare(load(settings.data_dir, scratch, archive, made.size, _in_mb(update)), file, made)
        migrate.check(scratch)
        if (head := _head(made, keys, file)) is not None:
            _verify(scratch, keys, settings.archive_dir, head, file)
        with connected_to(scratch) as connection:
            # What was told of positions after this backup is no longer so.
            identity.renew_restored(connection)
            _note_itself(connection, made)
        restored.replace_ledger(url)


def _note_itself(connection: psycopg.Connection[Any], made: Backup) -> None:
    """A backup is made before it is noted, so it does not know of itself: who is erased from here on is still in it."""
    position = made.head.get("position")
    with contextlib.suppress(ValueError):
        if isinstance(position, int):
            backups_made.note(connection, position, datetime.fromisoformat(made.made_at))


def _verify(url: str, keys: SealKeys, archive: Folder, head: SealHead, file: Path) -> None:
    """Raises BackupError where the archive is not the one that the ledger names, LedgerAltered, SealKeyMissing."""
    with connected_to(url) as connection:
        verified = checked(connection, keys, Extent(None, head, archive))
    if (altered := verified.altered) is not None and altered.file is not None:
        raise BackupError(
            f"The ledger in {file} names a file that the archive has not, or not so: {altered.what}.\n"
            f"Nothing was changed; put {altered.file} back from a copy of the archive as it was at the time of the "
            "backup, and try again."
        )
    if altered is not None:
        raise LedgerAltered(
            f"The ledger in {file} was altered at position {altered.position:,}: {altered.what}.\n"
            "Nothing was changed; use another backup."
        )
    if verified.missing is not None:
        raise SealKeyMissing(f"{verified.missing}\nNothing was changed.")


def _head(made: Backup, keys: SealKeys, file: Path) -> SealHead | None:
    """The head in a backup; None where its key is not here, so that nothing can be verified. Raises BackupError."""
    try:
        return seal_head.from_fields(dict(made.head), keys, str(file))
    except HeadKeyMissing:
        return None
    except HeadError as error:
        raise backups.altered(file) from error


def _say_unproven(url: str, keys: SealKeys, made: Backup) -> None:
    """Says what was taken on trust, and which API keys are accepted by that."""
    is_checked = any(key.hex() == made.head.get("key_id") for key in keys)
    say(NOT_PROVEN if is_checked else NOTHING_PROVEN)
    with connected_to(url) as connection:
        in_force = [key for key in api_keys.list_keys(connection) if key.revoked_at is None]
    names = ", ".join(f"{key.name} ({', '.join(key.scopes)})" for key in in_force) or "none"
    say(f"API keys in force: {names}; `presence-ledger keys revoke NAME` refuses one")


def _events(url: str) -> int:
    """About how many events the ledger has: the last position; 0 where it has no tables yet."""
    with connected_to(url) as connection:
        table = connection.execute("SELECT to_regclass('events')").fetchone()
        return raw_events.head(connection) if table and table[0] else 0


def _in_mb(update: Update) -> Update:
    return lambda done, total: update(done // MB, total // MB)


def _told(made: Backup, how_sure: str) -> str:
    """What a backup is, for people; of one that is not proven, what it says of itself."""
    seals, position = (
        number if isinstance(number := made.head.get(name), int) else 0 for name in ("seals", "position")
    )
    up_to = f"{counted(seals, 'seal')}, up to position {position:,}"
    return f"{up_to}, made at {_when(made.made_at)}, {made.size / MB:,.1f} MB, {how_sure}"


def _when(made_at: str) -> str:
    """In the reader's zone; as it stands where an unproven file has something else there."""
    try:
        return in_full(made_at)
    except ValueError:
        return made_at
