"""What the global options of one call said."""

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Invocation:
    """`config` is the settings file that was named, None for the usual one. Options after the command change it."""

    config: Path | None = None
    debug: bool = False
