"""Which language a tag names, wherever one is taken."""

from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.languages import language_of, parse_language
from ledger.settings.load import load

NOTIFY = '[[notify]]\nname = "oncall"\nurl = "json://127.0.0.1:1"\nlang = "{}"\n'


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("zh", "zh"),
        ("zh-CN", "zh"),
        ("zh_Hant_TW", "zh"),
        (" ZH_cn.UTF-8", "zh"),
        ("en-GB", "en"),
        ("fr", None),
        ("", None),
    ],
)
def test_a_tag_names_a_language_or_none_of_ours(tag: str, language: str | None) -> None:
    assert language_of(tag) == language
    assert parse_language(tag) == (language or tag)


def test_what_is_no_tag_stays_as_it_came() -> None:
    assert parse_language(7) == 7


def test_the_settings_take_tags_too(tmp_path: Path) -> None:
    file = tmp_path / "presence-ledger.toml"
    file.write_text(NOTIFY.format("zh-CN"))
    assert load(folder=tmp_path, environ={}).notify[0].lang == "zh"
    file.write_text(NOTIFY.format("fr"))
    with pytest.raises(SettingsError, match="line 4"):
        load(folder=tmp_path, environ={})
