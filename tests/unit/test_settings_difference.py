"""What differs between the settings in force and those read anew: told by name and never by value, taken or not."""

from dataclasses import fields
from pathlib import Path

import pytest

from ledger.settings import Settings
from ledger.settings.difference import TAKEN, SettingChange, difference
from ledger.settings.load import load
from tests.support.command import REPOSITORY

BASE = """
listen = "127.0.0.1:9640"
[[sources]]
name = "main"
webhook_secret = "secret-of-main"
[[sources.nodes]]
name = "n1"
token = "token-of-n1"
[[sources]]
name = "other"
webhook_secret = "secret-of-other"
[policy]
grace_seconds = 1.0
[api_keys]
app = { key = "key-of-the-app", scopes = ["read"] }
[[sinks]]
name = "app"
kind = "webhook"
url = "https://app.example/presence"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[[notify]]
name = "oncall"
url = "json://example.org"
"""
OTHER_SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def settings(folder: Path, text: str = BASE, **environ: str) -> Settings:
    (folder / "presence-ledger.toml").write_text(text, encoding="utf-8")
    return load(environ=environ, folder=folder)


CANARY_TAKEN = ["sources.main.canary.n1:c added", "sources.main.nodes.n1.token changed"]
CANARY = """name = "n1"
[[sources.canary]]
node = "n1"
address = "h:1"
uid = "c"
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("secret-of-main", "another-secret", ["sources.main.webhook_secret changed"]),
        ("token-of-n1", "another-token", ["sources.main.nodes.n1.token changed"]),
        ('name = "n1"', 'name = "n2"', ["sources.main.nodes.n1 removed", "sources.main.nodes.n2 added"]),
        ("key-of-the-app", "another-key", ["api_keys.app.key changed"]),
        ("app = {", "reader = {", ["api_keys.app removed", "api_keys.reader added"]),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", OTHER_SECRET, ["sinks.app.secret changed"]),
        ('kind = "webhook"', 'kind = "webhook"\nbatch = 5', ["sinks.app.batch changed"]),
        ("json://example.org", "json://example.com", ["notify.oncall.url changed"]),
        ("grace_seconds = 1.0", "grace_seconds = 2.0", ["policy.grace_seconds changed"]),
        ("grace", "dark", ["policy.dark_seconds changed", "policy.grace_seconds changed"]),
        ("[policy]", "[policy]\nreach_any_device = true", ["policy.reach_any_device changed"]),
        ("[[notify]]", "[alerts]\nnode_down_for_seconds = 9\n[[notify]]", ["alerts.node_down_for_seconds changed"]),
        ("[[notify]]", "[alerts]\noff = ['disk_low']\n[[notify]]", ["alerts.off changed"]),
        ("listen =", 'log_level = "debug"\nlisten =', ["log_level changed"]),
        ("listen =", 'front_origins = ["https://app.example"]\nlisten =', ["front_origins changed"]),
        ('name = "n1"\ntoken = "token-of-n1"', CANARY, CANARY_TAKEN),
    ],
)  # fmt: skip
def test_what_a_running_service_takes(tmp_path: Path, old: str, new: str, expected: list[str]) -> None:
    before, changed = settings(tmp_path), settings(tmp_path, BASE.replace(old, new, 1))
    found = difference(before, changed)
    assert found.settings == changed
    assert sorted(f"{each.setting} {each.kind}" for each in found.taken) == expected
    assert found.restart == ()


def test_nothing_differs_of_the_same(tmp_path: Path) -> None:
    found = difference(settings(tmp_path), settings(tmp_path))
    assert (found.taken, found.restart) == ((), ())


def test_the_order_of_sources_alone_differs(tmp_path: Path) -> None:
    before = settings(tmp_path, "[[sources]]\nname = 'a'\n[[sources]]\nname = 'b'\n")
    found = difference(before, settings(tmp_path, "[[sources]]\nname = 'b'\n[[sources]]\nname = 'a'\n"))
    assert found.taken == (SettingChange("sources", "changed"),)


def test_another_kind_of_sink_of_the_same_name(tmp_path: Path) -> None:
    text = BASE.replace('kind = "webhook"\nurl = "https://app.example/presence"', 'kind = "redis"\nurl = "redis://h/0"')
    lines = [line for line in text.splitlines() if not line.startswith("secret =")]
    found = difference(settings(tmp_path), settings(tmp_path, "\n".join(lines)))
    assert found.taken == (SettingChange("sinks.app", "changed"),)


def test_what_needs_a_restart_stays_as_it_was(tmp_path: Path) -> None:
    before = settings(tmp_path)
    text = BASE.replace("9640", "9641").replace("grace_seconds = 1.0", "grace_seconds = 2.0")
    found = difference(before, settings(tmp_path, f"queue_items = 7\n{text}", PRESENCE_LEDGER_GROUP_ITEMS="9"))
    assert found.restart == (
        SettingChange("listen", "changed"),
        SettingChange("queue_items", "changed"),
        SettingChange("group_items", "changed"),
    )
    assert found.taken == (SettingChange("policy.grace_seconds", "changed"),)
    merged = found.settings
    assert (merged.listen, merged.queue_items, merged.group_items) == (before.listen, 200_000, 10_000)
    assert merged.policy.grace_seconds == 2.0
    assert merged.origin("queue_items").kind == merged.origin("group_items").kind == "default"
    assert merged.origin("listen") == before.origin("listen")
    assert merged.origin("policy.grace_seconds").where.endswith(":14")


def test_no_value_is_told(tmp_path: Path) -> None:
    before = settings(tmp_path)
    after = settings(tmp_path, BASE.replace("secret-of-main", "another-secret").replace("token-of-n1", "other-token"))
    told = str([*difference(before, after).taken])
    assert "another-secret" not in told
    assert "other-token" not in told


def test_the_documents_name_what_is_taken() -> None:
    """All else is read at the start alone."""
    assert {each.name for each in fields(Settings)} >= TAKEN
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.partition("## Changing settings")[2].partition("\n## ")[0]
    for name in TAKEN - {"reach"}:
        assert f"`{name}`" in section or f"`[{name}]`" in section or f"`[[{name}]]`" in section, name
