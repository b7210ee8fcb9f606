"""Checks the setting `seal_keys`: which key seals, which verify, and that none is shown or made by asking."""

from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.settings import SEAL_KEY_FILE, known_seal_keys, sealing_key
from ledger.settings.entries import entries
from ledger.settings.load import load

NEW, OLD = "new-key-of-32-characters-at-least", "old-key-of-32-characters-at-least"


def kept(name: str, _make: object) -> str:
    assert name == SEAL_KEY_FILE
    return "kept"


def test_the_newest_of_those_set_seals_and_each_of_them_verifies(tmp_path: Path) -> None:
    (tmp_path / "presence-ledger.toml").write_text(f"data_dir = 'data'\nseal_keys = ['{NEW}', '{OLD}']")
    settings = load(environ={}, folder=tmp_path)
    assert sealing_key(settings, kept) == NEW
    assert known_seal_keys(settings) == (NEW, OLD)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SEAL_KEY_FILE).write_text("kept\n")
    assert known_seal_keys(settings) == (NEW, OLD, "kept")
    assert {entry.key: entry.value for entry in entries(settings)}["seal_keys"] == ["********", "********"]
    assert NEW not in repr(settings)


def test_without_any_the_kept_one_seals_and_asking_makes_none(tmp_path: Path) -> None:
    settings = load(environ={}, folder=tmp_path)
    assert sealing_key(settings, kept) == "kept"
    assert known_seal_keys(settings) == ()
    assert not settings.data_dir.exists()


def test_an_empty_one_neither_seals_nor_verifies(tmp_path: Path) -> None:
    settings = load(environ={"PRESENCE_LEDGER_DATA_DIR": str(tmp_path)}, folder=tmp_path)
    (tmp_path / SEAL_KEY_FILE).write_text("\n")
    assert known_seal_keys(settings) == ()
    with pytest.raises(SettingsError, match=r"seal\.key is empty"):
        sealing_key(settings, lambda _name, _make: "")


def test_a_kept_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    settings = load(environ={"PRESENCE_LEDGER_DATA_DIR": str(tmp_path)}, folder=tmp_path)
    (tmp_path / SEAL_KEY_FILE).mkdir()
    with pytest.raises(SettingsError, match="is not a regular file"):
        known_seal_keys(settings)


def test_they_are_read_from_the_environment(tmp_path: Path) -> None:
    settings = load(environ={"PRESENCE_LEDGER_SEAL_KEYS": f"{NEW}, {OLD}"}, folder=tmp_path)
    assert settings.seal_keys == (NEW, OLD)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'short-pq7Zx'", "seal_keys[0] must have 32 to 256 characters, not 11: anyone who guesses it can rewrite"),
        (f"['{NEW}', 'pq7Zx{' ' * 30}']", "seal_keys[1] may contain only visible ASCII characters"),
        (f"'pq7Zx,{NEW}'", "seal_keys[0] may contain only visible ASCII characters, without blanks and commas"),
        ("[]", "seal_keys is an empty list"),
        ("12345", "seal_keys must be a list"),
    ],
)
def test_a_bad_one_is_refused_and_not_shown(tmp_path: Path, value: str, message: str) -> None:
    (tmp_path / "presence-ledger.toml").write_text(f"seal_keys = {value}")
    with pytest.raises(SettingsError) as refused:
        load(environ={}, folder=tmp_path)
    assert message in str(refused.value)
    assert "pq7Zx" not in str(refused.value)
