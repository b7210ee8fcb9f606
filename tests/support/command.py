"""Calls the command in this process or in one of its own, with no setting of the environment but those given."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner, Result

from ledger.cli.app import app

REPOSITORY = Path(__file__).parents[2]
PREFIX = "PRESENCE_LEDGER_"
READERS = frozenset({"LC_ALL", "LC_MESSAGES", "LANG", "TZ", "COLUMNS", "NO_COLOR"})
"""Variables by which a command's output is another one for another reader."""


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def call(*arguments: str, **variables: str) -> Result:
    """Call the command in this process; `variables` go without their prefix."""
    cleared: dict[str, str | None] = {name: None for name in os.environ if name.startswith(PREFIX)}
    return CliRunner().invoke(app, arguments, env=cleared | _prefixed(variables))


def call_unread(*arguments: str) -> Result:
    """Call the command in this process as if nobody read it: no width, language or zone is anybody's."""
    cleared: dict[str, str | None] = {name: None for name in os.environ if name.startswith(PREFIX) or name in READERS}
    return CliRunner().invoke(app, arguments, env=cleared | {"TZ": "UTC"})


def process_environment(*, measured: bool = False, **variables: str) -> dict[str, str]:
    """The environment of a process that finds the package in this repository.

    Where the run is measured for coverage, a process is only if it is to be: that doubles what it takes.
    """
    left_out = (PREFIX,) if measured else (PREFIX, "COVERAGE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out) and name not in READERS}
    return kept | {"PYTHONPATH": str(REPOSITORY), "TZ": "UTC"} | _prefixed(variables)


def run_process(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in `folder`, until it ends."""
    return subprocess.run(
        [sys.executable, "-m", "ledger", *arguments],
        cwd=folder,
        env=process_environment() | _prefixed(variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _prefixed(variables: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}{name}": value for name, value in variables.items()}
