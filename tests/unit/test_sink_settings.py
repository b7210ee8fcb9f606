"""Checks the settings of sinks: what each kind has, and that a mistake is told with its line, without a secret."""

import base64
from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.settings import RedisSettings, Settings, WebhookSettings, WukongimSettings
from ledger.settings.entries import entries
from ledger.settings.load import load

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLDER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
WEBHOOK = f'[[sinks]]\nname = "app"\nkind = "webhook"\nurl = "https://app.example/presence"\nsecret = "{SECRET}"\n'
REDIS = '[[sinks]]\nname = "hot"\nkind = "redis"\nurl = "redis://:hunter2@127.0.0.1:6379/0"\n'
WUKONGIM = '[[sinks]]\nname = "clients"\nkind = "wukongim"\n'
NODE = '[[sources]]\nname = "main"\n[[sources.nodes]]\nname = "n1"\napi_url = "http://127.0.0.1:5001"\n'


def loaded(folder: Path, text: str, **variables: str) -> Settings:
    (folder / "presence-ledger.toml").write_text(text, encoding="utf-8")
    return load(environ={f"PRESENCE_LEDGER_{name}": value for name, value in variables.items()}, folder=folder)


def test_each_kind_has_its_own_settings_and_defaults(tmp_path: Path) -> None:
    text = NODE + WEBHOOK.replace(f'"{SECRET}"', f'["{SECRET}", "{OLDER}"]') + "every = true\n" + REDIS + WUKONGIM
    assert loaded(tmp_path, text).sinks == (
        WebhookSettings("app", "https://app.example/presence", (SECRET, OLDER), every=True),
        RedisSettings("hot", "redis://:hunter2@127.0.0.1:6379/0", coalesce_seconds=0.0, hot_seconds=300.0),
        WukongimSettings("clients", "main", sends_per_second=50.0),
    )


def test_there_are_none_by_default(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").sinks == ()


def test_the_environment_gives_scalars_of_every_type(tmp_path: Path) -> None:
    variables = {"SINKS_0_COALESCE_SECONDS": "0", "SINKS_0_EVERY": "true", "SINKS_0_BATCH": "9", "SINKS_0_LIST": "vips"}
    (sink,) = loaded(tmp_path, WEBHOOK, **variables).sinks
    assert (sink.coalesce_seconds, sink.every, sink.batch, sink.list) == (0, True, 9, "vips")


def test_no_secret_is_listed(tmp_path: Path) -> None:
    text = WEBHOOK.replace("presence", "presence?key=hunter2") + REDIS
    shown = {each.key: each.value for each in entries(loaded(tmp_path, text))}
    assert shown["sinks[0].url"] == "https://app.example/presence?********"
    assert shown["sinks[0].secret"] == ["********"]
    assert shown["sinks[1].url"] == "redis://:********@127.0.0.1:6379/0"
    assert SECRET not in repr(loaded(tmp_path, text))
    assert "hunter2" not in repr(loaded(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WEBHOOK.replace("https", "ftp"), "line 4: sinks[0].url must be a URL like https://app.example/presence"),
        (WEBHOOK.replace("https://app.example", "https://"), "line 4: sinks[0].url must be a URL like"),
        (WEBHOOK.replace("app.example", "app.example:port"), "line 4: sinks[0].url is not a valid URL"),
        (WEBHOOK.replace("/presence", "/#x"), "line 4: sinks[0].url must not have a fragment"),
        (WEBHOOK.replace("whsec_", ""), "line 5: sinks[0].secret[0] must be whsec_ and the base64 of 24 to 64 random"),
        (WEBHOOK.replace(SECRET, "whsec_!!!!"), "line 5: sinks[0].secret[0] must be whsec_ and the base64"),
        (WEBHOOK.replace(SECRET, "whsec_c2hvcnQ="), "random bytes, not of 5"),
        (WEBHOOK.replace(f'"{SECRET}"', "[]"), "line 5: sinks[0].secret is an empty list"),
        (WEBHOOK.replace("secret =", "# "), "line 1: sinks[0].secret is missing"),
        (WEBHOOK + WEBHOOK, "line 7: sinks[1].name is taken: 'app' is already the name of one of the sinks"),
        (WEBHOOK.replace('"webhook"', '"kafka"'), "line 3: sinks[0].kind must be one of webhook, wukongim, redis, not"),
        (WEBHOOK.replace('kind = "webhook"', ""), "line 1: sinks[0].kind is missing"),
        (WEBHOOK.replace('"app"', '"my app"'), "line 2: sinks[0].name must be 1 to 64 ASCII letters"),
        (WEBHOOK + "prefix = 'x'", "line 6: sinks[0].prefix is not a setting of the kind webhook; its own: secret"),
        (WEBHOOK + "batchs = 1", "line 6: sinks[0].batchs is an unknown key; did you mean batch?"),
        (WEBHOOK + "batch = 0", "line 6: sinks[0].batch must be at least 1, not 0"),
        (WEBHOOK + "every = 1", "line 6: sinks[0].every must be true or false, not 1"),
        (WEBHOOK + "coalesce_seconds = -1", "line 6: sinks[0].coalesce_seconds must be at least 0, not -1"),
        (REDIS.replace("redis://", "http://"), "line 4: sinks[0].url must be a URL like redis://127.0.0.1:6379/0"),
        (REDIS + "every = true", "line 5: sinks[0].every must not be true: the kind redis tells what is"),
        (WUKONGIM, "line 1: sinks[0].source needs a node with an api_url"),
        (NODE + WUKONGIM + "source = 'other'", "line 9: sinks[0].source must be one of main, not 'other'"),
        (NODE + NODE.replace("main", "b") + WUKONGIM, "line 11: sinks[0].source is missing: name one of the sources"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert f"presence-ledger.toml, {message}" in str(caught.value) or message in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_flag_of_the_environment_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"SINKS_0_EVERY: .* must be true or false"):
        loaded(tmp_path, WEBHOOK, SINKS_0_EVERY="yes")
