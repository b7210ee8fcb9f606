"""The settings of alerts: every number by name, what is off, and who is told, whose address is shown nowhere."""

from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.settings import Settings
from ledger.settings.entries import entries
from ledger.settings.load import load
from ledger.settings.notices import expect_known
from tests.support.command import call

ENTRY = '[[notify]]\nname = "oncall"\nurl = "json://somebody:a-secret@example.org/a-token-of-a-robot"\nlang = "zh"\n'


def loaded(folder: Path, text: str, **variables: str) -> Settings:
    (folder / "presence-ledger.toml").write_text(text)
    return load(folder=folder, environ=variables)


def test_a_threshold_is_named_after_its_alert(tmp_path: Path) -> None:
    text = '[alerts]\noff = ["disk_low"]\nnode_down_for_seconds = 2\ndrift_rate_share = 0.5\n'
    found = loaded(tmp_path, text, PRESENCE_LEDGER_ALERTS_CLEAR_SECONDS="3", PRESENCE_LEDGER_ALERTS_OFF="clock_skew")
    alerts = found.alerts
    assert (alerts.of("node_down", "for_seconds"), alerts.of("drift_rate", "share")) == (2.0, 0.5)
    assert (alerts.clear_seconds, alerts.off, alerts.of("sink_failing", "after_seconds")) == (3.0, ("clock_skew",), 600)


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").notify == ()


def test_no_address_is_shown(tmp_path: Path) -> None:
    found = loaded(tmp_path, ENTRY)
    [entry] = found.notify
    assert (entry.name, entry.from_severity, entry.lang) == ("oncall", "warning", "zh")
    assert entry.url == "json://somebody:a-secret@example.org/a-token-of-a-robot"
    shown = {each.key: each.value for each in entries(found)}
    assert shown["notify[0].url"] == "json://********"
    for text in (repr(found), str(shown)):
        assert "a-token" not in text
        assert "a-secret" not in text
    expect_known(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[alerts]\nnode_down_for_secs = 2", "line 2: alerts.node_down_for_secs is an unknown key; did you mean"),
        ('[alerts]\noff = ["nothing"]', "line 2: alerts.off[0] is not the name of an alert; there are drift_rate,"),
        ("[alerts]\ndrift_rate_share = 2", "line 2: alerts.drift_rate_share must be at most 1, not 2"),
        ("[alerts]\nevaluate_seconds = 0", "line 2: alerts.evaluate_seconds must be at least 0.1"),
        ('[[notify]]\nname = "a b"\nurl = "json://x"', "line 2: notify[0].name must be 1 to 64 ASCII letters"),
        ('[[notify]]\nname = "a"\nurl = "a-secret"', "line 3: notify[0].url must be an address that apprise knows"),
        ('[[notify]]\nname = "a"\nurl = "json://x"\nlang = "de"', "line 4: notify[0].lang must be one of en, zh"),
        (ENTRY + ENTRY, "line 6: notify[1].name is taken"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, text)
    assert told in str(error.value)
    assert "a-secret" not in str(error.value)


@pytest.mark.parametrize("url", ["unknown://a-secret", "tgram://a-secret"])
def test_an_address_that_apprise_cannot_read_is_an_error_with_its_line(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'[[notify]]\nname = "a"\nurl = "{url}"\n'
    with pytest.raises(SettingsError) as error:
        expect_known(loaded(tmp_path, text))
    assert "line 3: notify[0].url is not an address that apprise can read" in str(error.value)
    monkeypatch.chdir(tmp_path)
    for command in ("config", "serve"):
        result = call(command)
        assert result.exit_code == 1
        assert "line 3: notify[0].url" in result.output
        assert "a-secret" not in result.output
    named = '[[notify]]\nname = "a"\nurl = "json://x"\n'
    with pytest.raises(SettingsError, match=r"^PRESENCE_LEDGER_NOTIFY_0_URL: notify"):
        expect_known(loaded(tmp_path, named, PRESENCE_LEDGER_NOTIFY_0_URL=url))
