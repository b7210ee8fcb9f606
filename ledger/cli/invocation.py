"""What one call was given: its global options, and the settings that they lead to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ledger.settings import Settings


@dataclass
class Invocation:
    """`config` is the settings file that was named, None for the usual one. Options after the command change it."""

    config: Path | None = None
    debug: bool = False


def settings_from(context: typer.Context) -> "Settings":
    """Returns the settings that this call is under. Raises SettingsError."""
    from ledger.settings.load import load  # noqa: PLC0415  (`--help` needs none)

    invocation = context.find_object(Invocation)
    return load(invocation.config if invocation else None)
