"""The URL of a database: read as libpq reads it, never shown with a secret, refused without a word of it."""

import copy
import pickle
from pathlib import Path

import pytest

from ledger.database_url import MASK, SettingUrl, UrlUnreadable, masked, read, setting_of
from tests.support.command import call


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("postgresql://h/d", "postgresql://h/d"),
        ("postgresql:///d", "postgresql:///d"),
        ("postgres://u:hush@h:5/d", "postgresql://u:********@h:5/d"),
        ("postgresql://u:1234#word@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u:1234?word@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u:[word]@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u%40azure:hu%2Fsh@h/d", "postgresql://u%40azure:********@h/d"),
        ("postgresql://u@h/d?password=word&sslmode=require", "postgresql://u:********@h/d?sslmode=require"),
        ("postgresql://u@h/d?pass%77ord=word", "postgresql://u:********@h/d"),
        ("postgresql://u@h/d?sslpassword=word&sslkey=/k", "postgresql://u@h/d?sslkey=/k&sslpassword=********"),
        ("postgresql://u@h/d?scram_client_key=word", "postgresql://u@h/d?scram_client_key=********"),
        ("postgresql://u@h/d?oauth_client_secret=word", "postgresql://u@h/d?oauth_client_secret=********"),
        ("postgresql://u:hush@h1:5432,h2:5433/d", "postgresql://u:********@h1:5432,h2:5433/d"),
        ("postgresql://u:hush@h1,h2:5433/d", "postgresql://u:********@h1,h2:5433/d"),
        ("postgresql://u:hush@h1,h2/d?port=5433", "postgresql://u:********@h1:5433,h2:5433/d"),
        ("postgresql://u:hush@[::1]:5432/d", "postgresql://u:********@[::1]:5432/d"),
        ("postgresql://u:hush@/d?host=%2Frun%2Fpg", "postgresql://u:********@/d?host=/run/pg"),
    ],
)
def test_it_is_shown_without_secrets(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://u:hush@h/d", "a URL like postgresql://user:password@host/database"),
        ("postgres:/u:hush@h", "a URL like postgresql://user:password@host/database"),
        ("host=h password=hush", "a URL like postgresql://user:password@host/database"),
        ("postgresql://u:hush%zz@h/d", "can read"),
        ("postgresql://u:a@h/d?hush=word", "can read"),
        ("postgresql://u:[hush@[h/d", "can read"),
        # The rest of a password that libpq reads as something else, and would show.
        ("postgresql://u:a@hush@h/d", "an @ in the wrong place"),
        ("postgresql://u:a/hush@h/d", "an @ in the wrong place"),
        ("postgresql://u:12/hush@h/d", "an @ in the wrong place"),
        ("postgresql://h?password=hush@word", "an @ in the wrong place"),
        ("postgresql://u:hush/a", "a port that is not a number"),
        ("postgresql://u:a@h:70000/d", "a port that is not a number"),
        ("postgresql://u:a@h1,h2,h3/d?port=1,2", "as many ports as hosts"),
    ],
)
def test_what_cannot_be_read_is_refused_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(UrlUnreadable, match=why) as refused:
        read(url)
    assert "hush" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert masked(url) == MASK


def test_it_is_read_with_several_hosts() -> None:
    found = read("postgresql://u:hush@h1:5432,h2:5433/d?target_session_attrs=any")
    assert (found["host"], found["port"], found["password"]) == ("h1,h2", "5432,5433", "hush")


def test_it_says_which_setting_it_is_of_to_a_process_as_well() -> None:
    second = SettingUrl("postgresql://h/d", "database_session_url")
    for each in (second, pickle.loads(pickle.dumps(second)), copy.copy(second)):  # noqa: S301  (our own)
        assert (each, setting_of(each)) == ("postgresql://h/d", "database_session_url")
    assert setting_of("postgresql://h/d") == setting_of(str(second)) == "database_url"


@pytest.mark.parametrize(
    "command",
    [
        ("verify",), ("migrate",), ("migrate", "--distribute"), ("keys", "list"), ("rebuild", "sessions"),
        ("projections", "--skip", "sessions", "1"), ("export", "s.slice"), ("replay",), ("replay", "--processes", "2"),
        ("archive",), ("archive", "verify"), ("archive", "restore"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_each_command_names_the_setting_whose_server_does_not_answer(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = f"postgresql://someone@/ledger?host={tmp_path}"
    ways = {"DATABASE_URL": nowhere, "DATABASE_SESSION_URL": nowhere}
    others = {"SEAL_KEYS": "a-key-of-thirty-two-letters-or-more", "RETENTION_EVENTS_DAYS": "1"}
    for given, named in ((ways, "database_session_url"), ({"DATABASE_URL": nowhere}, "database_url")):
        result = call(*command, **given, **others)
        assert (result.exit_code, f"Check {named} and that the server runs." in result.stderr) == (1, True), (
            result.stderr
        )
