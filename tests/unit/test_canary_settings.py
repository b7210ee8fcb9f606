"""Checks the settings of canaries: their defaults, and that a mistake is told with its line, without a token."""

from pathlib import Path
from zlib import crc32

import pytest

from ledger.errors import SettingsError
from ledger.settings import CanarySettings, Settings
from ledger.settings.entries import entries
from ledger.settings.load import load

SOURCE = (
    '[[sources]]\nname = "main"\nprofile = "v2.2"\n[[sources.nodes]]\nname = "n1"\n[[sources.nodes]]\nname = "n2"\n'
)
CANARY = '[[sources.canary]]\nnode = "n1"\naddress = "10.0.0.11:5100"\nuid = "canary-n1"\n'
SECOND = CANARY.replace("n1", "n2")
SLOT_ZERO = "bob"


def loaded(folder: Path, text: str, **variables: str) -> Settings:
    (folder / "presence-ledger.toml").write_text(text, encoding="utf-8")
    return load(environ={f"PRESENCE_LEDGER_{name}": value for name, value in variables.items()}, folder=folder)


def test_a_canary_needs_a_node_its_address_and_a_uid(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, SOURCE + CANARY).sources
    assert source.canaries == (CanarySettings("n1", "10.0.0.11", 5100, "canary-n1", 0, 60.0, 30.0),)
    assert loaded(tmp_path, SOURCE).sources[0].canaries == ()


def test_the_environment_gives_its_token_and_nobody_shows_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SOURCE + CANARY, SOURCES_0_CANARY_0_TOKEN="hunter2hunter2")
    (canary,) = settings.sources[0].canaries
    assert canary.token == "hunter2hunter2"
    shown = {each.key: each.value for each in entries(settings)}
    assert shown["sources[0].canary[0].token"] == "********"
    assert shown["sources[0].canary[0].address"] == "10.0.0.11:5100"
    assert "hunter2" not in repr(settings)


def test_a_user_of_slot_zero_is_one() -> None:
    assert crc32(SLOT_ZERO.encode()) % 64 == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CANARY + 'name = "x"\n', "line 12: sources[0].canary[0].name is an unknown key"),
        (CANARY.replace('node = "n1"\n', ""), "line 8: sources[0].canary[0].node is missing"),
        (CANARY.replace('"n1"', '"n3"'), "line 9: sources[0].canary[0].node must be one of n1, n2, not 'n3'"),
        (CANARY + SECOND.replace('"n2"', '"n1"'), "line 13: sources[0].canary[1].node is taken"),
        (CANARY + SECOND.replace("canary-n2", "canary-n1"), "line 15: sources[0].canary[1].uid is taken"),
        (CANARY.replace(":5100", ""), "line 10: sources[0].canary[0].address must be host:port"),
        (CANARY.replace("canary-n1", "a@b"), "line 11: sources[0].canary[0].uid must hold none of @ # &"),
        (CANARY.replace("canary-n1", "é" * 600), "line 11: sources[0].canary[0].uid must be the uid of a user"),
        (CANARY.replace("canary-n1", SLOT_ZERO), "line 11: sources[0].canary[0].uid belongs to slot 0"),
        (CANARY + "device_flag = 256\n", "line 12: sources[0].canary[0].device_flag must be at most 255"),
        (CANARY + "every_seconds = 0\n", "line 12: sources[0].canary[0].every_seconds must be at least 1"),
        (CANARY + "token = 5\n", "line 12: sources[0].canary[0].token must be a string in quotes"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        loaded(tmp_path, SOURCE + text)
    assert f"presence-ledger.toml, {message}" in str(raised.value)


def test_other_versions_report_users_of_every_slot(tmp_path: Path) -> None:
    text = SOURCE.replace("v2.2", "v3") + CANARY.replace("canary-n1", SLOT_ZERO)
    assert loaded(tmp_path, text).sources[0].canaries[0].uid == SLOT_ZERO
    own = SOURCE.replace('name = "n1"\n', 'name = "n1"\nprofile = "v1"\n') + CANARY.replace("canary-n1", SLOT_ZERO)
    assert loaded(tmp_path, own).sources[0].canaries[0].uid == SLOT_ZERO
