"""Checks that the operator's page names every setting, with the default it has."""

import re
from pathlib import Path

import pytest

from ledger.settings.entries import entries
from ledger.settings.environment import PATTERNS
from ledger.settings.load import load

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
FOLDERS = ("data_dir", "retention.archive_dir")
"""Shown as they are here."""
ROW = re.compile(r"^\| `(?P<key>[a-zA-Z_.]+)` \| (?P<default>[^|]*) \| (?P<does>[^|]+) \| [^|]*\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def defaults() -> dict[str, str]:
    return {row["key"]: row["default"].strip("` ") for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def test_every_setting_is_described_and_nothing_else(defaults: dict[str, str]) -> None:
    keys = {".".join("NAME" if part == "" else str(part) for part in each.path if part != -1) for each in PATTERNS}
    assert set(defaults) == keys


def test_the_defaults_are_those_in_force(defaults: dict[str, str], tmp_path: Path) -> None:
    shown = {entry.key: entry.value for entry in entries(load(environ={}, folder=tmp_path))}
    compared = {key: default for key, default in defaults.items() if key in shown and key not in FOLDERS}
    assert len(compared) > 25
    for key, default in compared.items():
        value = shown[key]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        written = f"{value:.15g}" if number else str(value).lower() if isinstance(value, bool) else value or "empty"
        assert (key, default) == (key, written)
