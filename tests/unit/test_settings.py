"""Checks what the settings come to: defaults, file, environment over file, and the origin of each."""

from pathlib import Path

import msgspec
import pytest

from ledger.archive_folder import Bucket
from ledger.domain.policy import DEFAULT_POLICY, Policy
from ledger.domain.profile import Profile
from ledger.errors import SettingsError
from ledger.settings import Listen, webhook_secrets, with_implied
from ledger.settings.edge import PolicyTable
from ledger.settings.entries import entries
from ledger.settings.environment import PATTERNS
from ledger.settings.load import load
from ledger.settings.policy import override_policy

FULL = """\
data_dir = "data"
database_url = "postgresql://ledger:p4ssw0rd@db/ledger"
listen = "192.0.2.1:9000"

[[sources]]
name = "main"
profile = "v2.1"
webhook_secret = ["newest-secret", "oldest-secret"]
  [[sources.nodes]]
  name = "n1"
  api_url = "http://127.0.0.1:5001/"
  token = "manager-token"
  [[sources.nodes]]
  name = "n2"
  profile = "v3"

[policy]
grace_seconds = 5
breaker_share = 0.5

[api_keys]
app = { key = "app-key-of-the-file", scopes = ["audit"] }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "presence-ledger.toml").write_text(FULL)
    return tmp_path


def test_nothing_set_gives_one_source_with_one_node(tmp_path: Path) -> None:
    settings = load(environ={}, folder=tmp_path)
    (source,) = settings.sources
    assert (source.name, source.profile, [node.name for node in source.nodes]) == ("main", Profile.V2_2, ["n1"])
    assert settings.listen == Listen("127.0.0.1", 8640)
    assert settings.database_url == ""
    assert settings.data_dir == tmp_path / "presence-ledger-data"
    assert settings.policy == DEFAULT_POLICY
    assert settings.file is None
    assert (settings.max_body_bytes, settings.rejected_bytes, settings.group_items) == (67_108_864, 65_536, 10_000)
    assert (settings.stale_seconds, settings.stale_users) == (900.0, 100_000)
    assert settings.store_wait_seconds == 4
    assert {entry.origin.kind for entry in entries(settings)} == {"default"}


def test_the_whole_file_is_read(folder: Path) -> None:
    settings = load(environ={}, folder=folder)
    (source,) = settings.sources
    first, second = source.nodes
    assert settings.data_dir == folder / "data"
    assert settings.listen == Listen("192.0.2.1", 9000)
    assert source.webhook_secrets == ("newest-secret", "oldest-secret")
    assert (first.api_url, first.token, first.profile) == ("http://127.0.0.1:5001", "manager-token", None)
    assert (source.profile_for(first), source.profile_for(second)) == (Profile.V2_1, Profile.V3)
    assert settings.policy == msgspec.structs.replace(DEFAULT_POLICY, grace_seconds=5, breaker_share=0.5)
    (api_key,) = settings.api_keys
    assert (api_key.name, api_key.key, api_key.scopes) == ("app", "app-key-of-the-file", frozenset({"read", "audit"}))


def test_each_value_keeps_where_it_came_from(folder: Path) -> None:
    settings = load(environ={"PRESENCE_LEDGER_LISTEN": "[::1]:1"}, folder=folder)
    assert str(settings.origin("data_dir")) == "presence-ledger.toml:1"
    assert str(settings.origin("policy.breaker_share")) == "presence-ledger.toml:19"
    assert str(settings.origin("sources[0].nodes[1].profile")) == "presence-ledger.toml:15"
    assert str(settings.origin("api_keys.app.key")) == "presence-ledger.toml:22"
    assert (settings.origin("listen").kind, str(settings.origin("listen"))) == (
        "environment",
        "PRESENCE_LEDGER_LISTEN",
    )
    assert settings.origin("policy.dedupe_seconds").kind == "default"


def test_every_entry_that_the_file_sets_has_its_line(folder: Path) -> None:
    settings = load(environ={}, folder=folder)
    of_file = {entry.key for entry in entries(settings) if entry.origin.kind == "file"}
    assert len(of_file) == 15
    assert "sources[0].nodes[0].token" in of_file


def test_the_environment_wins(folder: Path) -> None:
    settings = load(
        folder=folder,
        environ={
            "PRESENCE_LEDGER_DATABASE_URL": "",
            "PRESENCE_LEDGER_LISTEN": "[::1]:8641",
            "PRESENCE_LEDGER_POLICY_GRACE_SECONDS": "7.5",
            "PRESENCE_LEDGER_POLICY_CONFIRMATIONS": "3",
            "PRESENCE_LEDGER_SOURCES_0_WEBHOOK_SECRET": "from-the-environment, the-one-before",
            "PRESENCE_LEDGER_SOURCES_0_NODES_1_TOKEN": "second-token",
            "PRESENCE_LEDGER_SOURCES_1_NAME": "second",
            "PRESENCE_LEDGER_SOURCES_1_NODES_0_API_URL": "http://second:5001",
            "PRESENCE_LEDGER_API_KEYS_APP_KEY": "app-key-of-the-environment",
            "PRESENCE_LEDGER_API_KEYS_OPS_KEY": "operators-key",
            "PRESENCE_LEDGER_API_KEYS_OPS_SCOPES": "read,admin",
        },
    )
    main, second = settings.sources
    assert settings.database_url == ""
    assert settings.listen == Listen("::1", 8641)
    assert (settings.policy.grace_seconds, settings.policy.confirmations) == (7.5, 3)
    assert main.webhook_secrets == ("from-the-environment", "the-one-before")
    assert [node.token for node in main.nodes] == ["manager-token", "second-token"]
    assert [(node.name, node.api_url) for node in second.nodes] == [("n1", "http://second:5001")]
    assert {each.name: each.key for each in settings.api_keys} == {
        "app": "app-key-of-the-environment",
        "ops": "operators-key",
    }
    assert settings.api_keys[1].scopes == {"read", "watch", "audit", "admin"}


def test_the_environment_alone_describes_the_default_source(tmp_path: Path) -> None:
    variables = {"PRESENCE_LEDGER_SOURCES_0_PROFILE": "v3", "PRESENCE_LEDGER_SOURCES_0_NODES_0_API_URL": "https://h"}
    (source,) = load(environ=variables, folder=tmp_path).sources
    assert (source.name, source.profile) == ("main", Profile.V3)
    assert [(node.name, node.api_url) for node in source.nodes] == [("n1", "https://h")]


def test_ten_sources_in_the_environment_keep_their_order(tmp_path: Path) -> None:
    variables = {f"PRESENCE_LEDGER_SOURCES_{number}_NAME": f"s{number}" for number in range(12)}
    sources = load(environ=variables, folder=tmp_path).sources
    assert [source.name for source in sources] == [f"s{number}" for number in range(12)]


def test_paths_of_a_named_file_are_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text('data_dir = "../data"')
    settings = load(Path("etc/mine.toml"), environ={}, folder=tmp_path)
    assert settings.data_dir == tmp_path / "data"
    assert settings.file == tmp_path / "etc" / "mine.toml"


def test_the_default_data_folder_lies_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text("")
    settings = load(environ={"PRESENCE_LEDGER_CONFIG": "etc/mine.toml"}, folder=tmp_path)
    assert settings.data_dir == tmp_path / "etc" / "presence-ledger-data"


def test_paths_of_the_environment_are_relative_to_the_working_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "mine.toml").write_text('data_dir = "data"')
    settings = load(Path("etc/mine.toml"), environ={"PRESENCE_LEDGER_DATA_DIR": "here"}, folder=tmp_path)
    assert settings.data_dir == tmp_path / "here"


def test_the_archive_may_be_in_a_bucket(tmp_path: Path) -> None:
    url = "s3://ledger/archive?endpoint=http://127.0.0.1:9000"
    settings = load(environ={"PRESENCE_LEDGER_RETENTION_ARCHIVE_DIR": url}, folder=tmp_path)
    assert settings.archive_dir == Bucket("ledger", "archive", "http://127.0.0.1:9000")
    assert {entry.key: entry.value for entry in entries(settings)}["retention.archive_dir"] == url


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(environ={"PRESENCE_LEDGER_DATA_DIR": "~/data"}).data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[sources]]\nname = "a"', 0),
        ('[[sources]]\nname = "a"\nnodes = [{ name = "n1", api_url = "http://h" }]', 900),
        ('[[sources]]\nname = "a"\n[policy]\ndark_seconds = 60', 60),
        ('[[sources]]\nname = "a"\nnodes = [{ name = "n1", api_url = "http://h" }]\n[policy]\ndark_seconds = 0', 0),
    ],
)
def test_a_source_that_cannot_be_asked_never_goes_dark_unless_told(tmp_path: Path, text: str, expected: float) -> None:
    (tmp_path / "presence-ledger.toml").write_text(text)
    assert load(environ={}, folder=tmp_path).sources[0].dark_seconds == expected


def test_variables_of_others_are_let_be(tmp_path: Path) -> None:
    variables = {
        "PRESENCE_LEDGER_API_KEY": "a-key",
        "PRESENCE_LEDGER_URL": "http://h",
        "PRESENCE_LEDGER_SERVICE_HOST": "10.0.0.1",
        "PRESENCE_LEDGER_SERVICE_PORT_HTTP": "8640",
        "PRESENCE_LEDGER_PORT": "tcp://10.0.0.1:8640",
        "PRESENCE_LEDGER_PORT_8640_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert load(environ=variables, folder=tmp_path).origins == {}


def test_the_policys_keys_are_the_policys_fields() -> None:
    assert set(PolicyTable.model_fields) == set(Policy.__struct_fields__)
    assert Policy(**PolicyTable().model_dump()) == DEFAULT_POLICY


def test_no_two_variables_mean_two_things() -> None:
    examples = [pattern.example for pattern in PATTERNS]
    assert len(set(examples)) == len(examples)
    for example in examples:
        assert [pattern.example for pattern in PATTERNS if pattern.variable.fullmatch(example)] == [example]


def test_secrets_are_not_in_the_repr(folder: Path) -> None:
    written = repr(load(environ={}, folder=folder))
    for secret in ("p4ssw0rd", "newest-secret", "oldest-secret", "manager-token", "app-key-of-the-file"):
        assert secret not in written


def test_the_listing_masks_secrets(folder: Path) -> None:
    listed = entries(load(environ={}, folder=folder))
    written = repr(listed)
    for secret in ("p4ssw0rd", "newest-secret", "oldest-secret", "manager-token", "app-key-of-the-file"):
        assert secret not in written
    values = {entry.key: entry.value for entry in listed}
    assert values["database_url"] == "postgresql://ledger:********@db/ledger"
    assert values["sources[0].webhook_secret"] == ["********", "********"]
    assert values["sources[0].nodes[0].api_url"] == "http://127.0.0.1:5001"


def test_the_business_server_is_shown_without_its_password(folder: Path) -> None:
    (folder / "presence-ledger.toml").write_text(
        '[[sources]]\nname = "a"\nforward_url = "https://app:s3cret@host:1/x"\nforward_presence = true\n'
        '[[sources]]\nname = "b"\nforward_url = "http://host/x"\n[[sources]]\nname = "c"\n'
    )
    settings = load(environ={}, folder=folder)
    assert settings.sources[0].forward_url == "https://app:s3cret@host:1/x"
    values = {entry.key: entry.value for entry in entries(settings)}
    shown = [(values[f"sources[{n}].forward_url"], values[f"sources[{n}].forward_presence"]) for n in range(3)]
    assert shown == [("https://app:********@host:1/x", True), ("http://host/x", False), (None, False)]


def test_webhook_secrets_are_those_set_or_the_one_kept(folder: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def keep(name: str, make: object) -> str:
        asked.append(name)
        return "kept"

    set_source = load(environ={}, folder=folder).sources[0]
    free_source = load(environ={"PRESENCE_LEDGER_SOURCES_0_NAME": "east"}, folder=tmp_path / "none").sources[0]
    assert webhook_secrets(set_source, keep) == ("newest-secret", "oldest-secret")
    assert webhook_secrets(free_source, keep) == ("kept",)
    assert asked == ["webhook-east.secret"]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ([], set()),
        (["read"], {"read"}),
        (["audit"], {"read", "audit"}),
        (["watch"], {"read", "watch"}),
        (["watch", "audit"], {"read", "watch", "audit"}),
        (["read", "admin"], {"read", "watch", "audit", "admin"}),
    ],
)
def test_a_scope_includes_others(scopes: list[str], expected: set[str]) -> None:
    assert with_implied(scopes) == expected


def test_single_numbers_of_a_policy_can_be_changed() -> None:
    policy = override_policy(DEFAULT_POLICY, ["grace_seconds=1", "confirmations=3", "grace_seconds=2.5"])
    assert policy == msgspec.structs.replace(DEFAULT_POLICY, grace_seconds=2.5, confirmations=3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("grace_seconds", "--policy grace_seconds: must be name=value like grace_seconds=5"),
        ("grace_seconds=soon", "--policy grace_seconds: must be a number, not 'soon'"),
        ("grace_seconds=-1", "--policy grace_seconds: must be at least 0, not -1"),
        ("grace_seconds=nan", "--policy grace_seconds: must be a finite number, not nan"),
        ("confirmations=1.5", "--policy confirmations: must be a whole number, not 1.5"),
        ("grace=1", "--policy grace: is an unknown key; did you mean grace_seconds?"),
    ],
)
def test_a_bad_change_of_the_policy_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        override_policy(DEFAULT_POLICY, [assignment])
    assert str(caught.value) == message
