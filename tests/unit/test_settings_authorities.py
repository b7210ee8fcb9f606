"""A private certificate authority in the settings: whose it is, what it is relative to, and a file that is not one."""

from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.settings.entries import entries
from ledger.settings.load import load

AUTHORITY = Path(__file__).parents[1] / "fixtures" / "tls" / "authority.pem"
SOURCE = """\
[[sources]]
name = "main"
api_ca_file = "of-source.pem"
  [[sources.nodes]]
  name = "n1"
  [[sources.nodes]]
  name = "n2"
  api_ca_file = "tls/of-node.pem"
[[sources]]
name = "other"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tls").mkdir()
    for name in ("of-source.pem", "tls/of-node.pem"):
        (tmp_path / name).write_bytes(AUTHORITY.read_bytes())
    (tmp_path / "presence-ledger.toml").write_text(SOURCE)
    return tmp_path


def test_a_nodes_own_authority_comes_before_its_sources(folder: Path) -> None:
    settings = load(environ={}, folder=folder)
    files = [[node.api_ca_file for node in source.nodes] for source in settings.sources]
    assert files == [[folder / "of-source.pem", folder / "tls" / "of-node.pem"], [None]]
    shown = {each.key: (each.value, str(each.origin)) for each in entries(settings) if "api_ca_file" in each.key}
    assert shown == {
        "sources[0].nodes[0].api_ca_file": (str(folder / "of-source.pem"), "presence-ledger.toml:3"),
        "sources[0].nodes[1].api_ca_file": (str(folder / "tls" / "of-node.pem"), "presence-ledger.toml:8"),
        "sources[1].nodes[0].api_ca_file": (None, "default"),
    }


def test_the_file_is_beside_the_settings_and_a_variables_in_the_working_folder(folder: Path, tmp_path: Path) -> None:
    working = tmp_path / "working"
    working.mkdir()
    (working / "of-variable.pem").write_bytes(AUTHORITY.read_bytes())
    environ = {"PRESENCE_LEDGER_SOURCES_0_NODES_1_API_CA_FILE": "of-variable.pem"}
    (source, _) = load(folder / "presence-ledger.toml", environ, working).sources
    assert [node.api_ca_file for node in source.nodes] == [folder / "of-source.pem", working / "of-variable.pem"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "which cannot be read: No such file or directory"),
        (b"", "which contains no PEM certificates"),
        (b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "which contains no PEM certificates"),
        (b"\x30\x82\x01\x01", "which contains no PEM certificates"),
    ],
)
def test_a_file_that_is_not_one_is_told_with_its_line(folder: Path, content: bytes | None, reason: str) -> None:
    file = folder / "tls" / "of-node.pem"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(environ={}, folder=folder)
    assert str(caught.value) == f"presence-ledger.toml, line 8: sources[0].nodes[1].api_ca_file names {file}, {reason}"


def test_an_empty_path_is_not_one(folder: Path) -> None:
    (folder / "presence-ledger.toml").write_text('[[sources]]\nname = "main"\napi_ca_file = ""\n')
    with pytest.raises(SettingsError, match=r"line 3: sources.0..api_ca_file must be the path of a file"):
        load(environ={}, folder=folder)
