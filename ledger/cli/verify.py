"""The command `verify`: proves that no event was altered since it was recorded, or names the first that was."""

from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from ledger.cli.access import connected_to, started_database_url
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, print_line
from ledger.cli.progress import shown
from ledger.cli.times import in_full
from ledger.errors import LedgerAltered, SealKeyMissing
from ledger.settings import SEAL_KEY_FILE, Settings, known_seal_keys
from ledger.store import seal_head
from ledger.store.replacing import replacing, unusable
from ledger.store.seal import SealKey, SealKeys, seal_keys
from ledger.store.seal_head import SealHead
from ledger.store.verified import Extent, Verified
from ledger.store.verify_moment import verify_moment
from ledger.text import counted


def verify(
    context: typer.Context,
    export_head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="If the ledger is intact, write its head here, for safe keeping."),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also check that the ledger still has this head, written before."),
    ] = None,
    after: Annotated[
        int | None, typer.Option(metavar="POSITION", min=0, help="Check only what comes after this position.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every event against its seal, and every seal against the one before; exits 1 where anything was altered.

    A head shows what seals alone cannot: that the end of the ledger was cut off, or rewritten with the key. Keep
    heads out of reach of anyone who can reach the database. The service may run meanwhile.

    Example: presence-ledger verify --head /mnt/elsewhere/head.json --export-head /mnt/elsewhere/head.json
    """
    settings = settings_from(context)
    keys = seal_keys_from(settings)
    expected = None if head is None else read_head(head, keys)
    if after is not None and expected is not None and after > expected.position:
        raise typer.BadParameter(f"the head is at position {expected.position}, which --after would skip")
    with started_database_url(settings) as url, connected_to(url) as connection:
        verified = checked(connection, keys, Extent(after, expected, settings.archive_dir))
    if export_head is not None and verified.is_intact:
        with replacing(export_head) as file:
            file.write(seal_head.to_text(verified.head, newest(keys)).encode())
    if as_json:
        print_json(as_fields(verified, keys))
        raise typer.Exit(not verified.is_intact)
    require_intact(verified)
    print_line(
        f"intact: {told(verified)}" + (f"; the head of {in_full(expected.made_at)} is in it" if expected else "")
    )


KEY_ELSEWHERE = "Set data_dir to the service's own, or seal_keys to the keys that it seals with."


def seal_keys_from(settings: Settings) -> SealKeys:
    """The keys that are here. Raises SealKeyMissing, SettingsError."""
    keys = seal_keys(known_seal_keys(settings))
    if not keys:
        raise SealKeyMissing(
            f"There is no seal key, neither in seal_keys nor in {settings.data_dir / SEAL_KEY_FILE}.\n{KEY_ELSEWHERE}"
        )
    return keys


def read_head(path: Path, keys: SealKeys) -> SealHead:
    """The head in a file. Raises HeadError, FileUnusable."""
    try:
        with path.open("rb") as file:
            content = file.read(seal_head.MAX_BYTES)
    except OSError as error:
        raise unusable(path, error) from error
    return seal_head.from_text(content, keys, str(path))


def checked(connection: psycopg.Connection[Any], keys: SealKeys, extent: Extent) -> Verified:
    """What a walk over the ledger finds, its progress shown. Raises BeyondHead."""
    with shown("verifying") as update:
        return verify_moment(connection, keys, update, extent)


def require_intact(verified: Verified) -> None:
    """Raises LedgerAltered where it is not, SealKeyMissing where that cannot be told."""
    if (altered := verified.altered) is not None:
        raise LedgerAltered(f"Altered at position {altered.position:,}: {altered.what}.\n{altered.way_out}")
    if verified.missing is not None:
        raise SealKeyMissing(str(verified.missing))


def told(verified: Verified) -> str:
    """What was checked, for people."""
    what = f"{counted(verified.events, 'event')} under {counted(verified.seals, 'seal')}"
    gone = f", {counted(verified.erased, 'event')} erased, as is on record" if verified.erased else ""
    return f"{what}, up to position {verified.head.position:,}{gone}"


def as_fields(verified: Verified, keys: SealKeys) -> dict[str, Any]:
    """What was found, for programs."""
    altered, missing = verified.altered, verified.missing
    return {
        "intact": verified.is_intact,
        "events": verified.events,
        "seals": verified.seals,
        "erased": verified.erased,
        "head": seal_head.to_fields(verified.head, newest(keys)),
        "altered": altered and {"position": altered.position, "what": altered.what},
        "missing_key": missing and {"key_id": missing.key_id.hex(), "first": missing.first, "last": missing.last},
    }


def newest(keys: SealKeys) -> SealKey:
    """The key that seals now, which signs heads as well."""
    return next(iter(keys.values()))
