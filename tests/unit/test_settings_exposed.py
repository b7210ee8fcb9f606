"""Whether other users can read the settings file's secrets, or change it."""

from pathlib import Path

import pytest

from ledger.settings.exposed import exposed_file
from ledger.settings.load import load

TOKEN = '[[sources]]\nname = "main"\n[[sources.nodes]]\nname = "n1"\ntoken = "a-managers-token"\n'
URL = 'database_url = "postgresql://u{password}@db/ledger"\n'


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        (TOKEN, 0o644, True),
        (TOKEN, 0o640, False),
        (TOKEN, 0o600, False),
        (TOKEN, 0o620, True),
        (URL.format(password=":secret"), 0o644, True),
        (URL.format(password=""), 0o644, False),
        (URL.format(password="") + "database_session_" + URL[9:].format(password=":secret"), 0o644, True),
        ('seal_keys = ["a-seal-key-of-more-than-32-characters"]\n', 0o604, True),
        ("[policy]\ngrace_seconds = 5\n", 0o644, False),
        ("[policy]\ngrace_seconds = 5\n", 0o666, True),
    ],
)
def test_a_file_that_others_can_read_or_change_is_told(text: str, mode: int, told: bool, tmp_path: Path) -> None:
    file = tmp_path / "presence-ledger.toml"
    file.write_text(text)
    file.chmod(mode)
    found = exposed_file(load(environ={}, folder=tmp_path))
    assert (found is not None) is told
    if found is not None:
        assert (found.path, found.mode, found.way_out) == (file, f"{mode:04o}", f"chmod 600 {file}")


def test_secrets_of_the_environment_and_no_file_are_nobodys_business(tmp_path: Path) -> None:
    token = {"PRESENCE_LEDGER_SOURCES_0_NODES_0_TOKEN": "a-managers-token"}
    assert exposed_file(load(environ=token, folder=tmp_path)) is None
    file = tmp_path / "presence-ledger.toml"
    file.write_text("")
    file.chmod(0o644)
    assert exposed_file(load(environ=token, folder=tmp_path)) is None
