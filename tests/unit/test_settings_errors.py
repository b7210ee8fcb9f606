"""Checks that each mistake in the settings is told with its line or variable, and that no message shows a secret."""

from pathlib import Path

import pytest

from ledger.errors import SettingsError
from ledger.settings.load import load

SOURCE = '[[sources]]\nname = "main"\n'
NODE = SOURCE + '  [[sources.nodes]]\n  name = "n1"\n'


def refusal(folder: Path, text: str | bytes | None = None, **variables: str) -> str:
    """What `load` says about this file and these PRESENCE_LEDGER_ variables."""
    if text is not None:
        (folder / "presence-ledger.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    environ = {f"PRESENCE_LEDGER_{name}": value for name, value in variables.items()}
    with pytest.raises(SettingsError) as caught:
        load(environ=environ, folder=folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("listen = ", "line 1: this is not TOML: Invalid value"),
        ("\n\nlisten = 1 2\n", "line 3: this is not TOML: Expected newline or end of document after a statement"),
        ('a = 1\n\nb = """never\nclosed', "line 4: this is not TOML: Unterminated string"),
        ("a = 1\na = 2", "line 2: this is not TOML: Cannot overwrite a value"),
        ('\nlistn = "h:1"', "line 2: listn is an unknown key; did you mean listen?"),
        ("[polcy]\n", "line 1: polcy is an unknown key; did you mean policy?"),
        ("[policy]\n\ngrace_second = 1", "line 3: policy.grace_second is an unknown key; did you mean grace_seconds?"),
        ("[policy]\nxyz = 1", "line 2: policy.xyz is an unknown key; known here: grace_seconds, reorder_seconds, "),
        (
            NODE + '  secret = "x"',
            "line 5: sources[0].nodes[0].secret is an unknown key; known here: name, api_url, token,",
        ),
        ("[policy]\ngrace_seconds = -1", "line 2: policy.grace_seconds must be at least 0, not -1"),
        ("[policy]\ngrace_seconds = '1'", "line 2: policy.grace_seconds must be a number, not '1'"),
        ("[policy]\ngrace_seconds = true", "line 2: policy.grace_seconds must be a number, not True"),
        ("[policy]\ngrace_seconds = inf", "line 2: policy.grace_seconds must be a finite number, not inf"),
        ("[policy]\ngrace_seconds = 1e9", "line 2: policy.grace_seconds must be at most 31,536,000, not 1000000000.0"),
        ("[policy]\nbreaker_share = 1.1", "line 2: policy.breaker_share must be at most 1, not 1.1"),
        ("[policy]\ntier_vip_seconds = 0", "line 2: policy.tier_vip_seconds must be at least 0.1, not 0"),
        ("[policy]\nconfirmations = 1.5", "line 2: policy.confirmations must be a whole number, not 1.5"),
        ("[policy]\nbudget_calls = 0", "line 2: policy.budget_calls must be more than 0, not 0"),
        ("policy = 1", "line 1: policy must be a table, not 1"),
        ("data_dir = ' '", "line 1: data_dir must be the path of a folder"),
        ("data_dir = 1", "line 1: data_dir must be a string in quotes, not 1"),
        ("data_dir = '~no-such-user/x'", "line 1: data_dir names the home of a user who does not exist"),
        ("listen = '8640'", "line 1: listen must be host:port like 127.0.0.1:8640 or [::1]:8640"),
        ("listen = '::1:8640'", "line 1: listen must be host:port like 127.0.0.1:8640 or [::1]:8640"),
        ("listen = 'h:0'", "line 1: listen must end in a port from 1 to 65535"),
        ("listen = 'h:http'", "line 1: listen must end in a port from 1 to 65535"),
        ("log_level = 'loud'", "line 1: log_level must be one of debug, info, warning, error, not 'loud'"),
        ("max_body_bytes = 1", "line 1: max_body_bytes must be at least 1,024, not 1"),
        ("sources = []", "line 1: sources is an empty list; leave the key out, or give at least one"),
        ("sources = 1", "line 1: sources must be a list, not 1"),
        ("sources = ['main']", "line 1: sources[0] must be a table, not 'main'"),
        ("\n[[sources]]\nprofile = 'v3'", "line 2: sources[0].name is missing"),
        (SOURCE + "nodes = []", "line 3: sources[0].nodes is an empty list"),
        (SOURCE + "profile = 'v4'", "line 3: sources[0].profile must be one of v1, v2.1, v2.2, v3, not 'v4'"),
        ("[[sources]]\nname = 'a/b'", "line 2: sources[0].name must be 1 to 64 ASCII letters, digits or . _ ~ -"),
        ("[[sources]]\nname = '..'", "line 2: sources[0].name must be 1 to 64 ASCII letters"),
        (SOURCE + SOURCE, "line 4: sources[1].name is taken: 'main' is already the name of one of the sources"),
        (
            NODE + "  [[sources.nodes]]\n  name = 'n1'",
            "line 6: sources[0].nodes[1].name is taken: 'n1' is already the name of one of the nodes",
        ),
        (
            NODE + "  api_url = 'ftp://h'",
            "line 5: sources[0].nodes[0].api_url must be a URL like http://127.0.0.1:5001",
        ),
        (NODE + "  api_url = 'http://h:x'", "line 5: sources[0].nodes[0].api_url is not a valid URL"),
        (NODE + "  api_url = 'http://h/?a=1'", "line 5: sources[0].nodes[0].api_url must be only an address"),
        (SOURCE + "forward_url = 'app:8090/hook'", "line 3: sources[0].forward_url must be a URL like http://app:8090"),
        (
            SOURCE + "forward_url = 'http://app/?a=1'",
            "line 3: sources[0].forward_url must not have a query: the event's name",
        ),
        (
            SOURCE + "forward_url = 'http://localhost:8640/hooks/main/n1/x'",
            "line 3: sources[0].forward_url is the address of presence ledger itself: name where WuKongIM's webhooks",
        ),
        (SOURCE + "forward_presence = true", "line 3: sources[0].forward_presence needs a forward_url to forward to"),
        (SOURCE + "webhook_secret = []", "line 3: sources[0].webhook_secret is an empty list"),
        ("api_keys = { app = { key = '12345678' } }", "line 1: api_keys.app.scopes is missing"),
        (
            "[api_keys]\napp = { key = '12345678', scopes = ['write'] }",
            "line 2: api_keys.app.scopes[0] must be one of read, watch, audit, admin, not 'write'",
        ),
        (
            "[api_keys]\n'a b' = { key = '12345678', scopes = ['read'] }",
            "line 2: api_keys.a b must be 1 to 64 ASCII letters",
        ),
        ("[retention]\nevents_days = 0.5", "line 2: retention.events_days must be 0, for never, or at least 1"),
        ("[retention]\nevents_days = -1", "line 2: retention.events_days must"),
        ("[retention]\narchive_dir = ' '", "line 2: retention.archive_dir must be the path of a folder"),
        (
            "[retention]\narchive_dir = 's3://k:s@b'",
            "line 2: retention.archive_dir must not hold a key: set AWS_ACCESS",
        ),
        (b"# caf\xe9\n", "line 1: the text is not UTF-8"),
        (b"a = 1\n\xff", "line 2: the text is not UTF-8"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refusal(tmp_path, text).startswith(f"presence-ledger.toml, {message}")


@pytest.mark.parametrize(
    ("text", "secret", "message"),
    [
        (
            SOURCE + "webhook_secret = 'pq7Zx'",
            "pq7Zx",
            "sources[0].webhook_secret[0] must have 8 to 256 characters, not 5",
        ),
        (
            SOURCE + "webhook_secret = ['long-enough',\n'pq7Zx/abcdef']",
            "pq7Zx",
            "sources[0].webhook_secret[1] may contain only ASCII letters, digits and . _ ~ -: it is part of the",
        ),
        (SOURCE + "webhook_secret = 12345678", "12345678", "sources[0].webhook_secret must be a list"),
        (
            NODE + "  token = 'pq7Zx pq7Zx'",
            "pq7Zx",
            "sources[0].nodes[0].token may contain only visible ASCII characters",
        ),
        (NODE + "  token = 777888", "777888", "sources[0].nodes[0].token must be a string in quotes"),
        (NODE + "  api_url = 'http://u:pq7Zx@h'", "pq7Zx", "sources[0].nodes[0].api_url must be only an address"),
        (SOURCE + "forward_url = 'http://u:pq7Zx@h/?a'", "pq7Zx", "sources[0].forward_url must not have a query"),
        (
            "[api_keys]\na = { key = 'pq7Zx', scopes = ['read'] }",
            "pq7Zx",
            "api_keys.a.key must have 8 to 256 characters",
        ),
        (
            "[api_keys]\na = { key = 'pq7Zx\tpq7Zx', scopes = ['read'] }",
            "pq7Zx",
            "api_keys.a.key may contain only visible",
        ),
        (
            "[api_keys]\na = { key = 'pq7Zx-12', scopes = ['read'] }\nb = { key = 'pq7Zx-12', scopes = ['read'] }",
            "pq7Zx",
            "api_keys.b.key is the same key as that of a",
        ),
        (
            "database_url = 'mysql://u:pq7Zx@h'",
            "pq7Zx",
            "database_url must be empty (the embedded database) or a URL like",
        ),
        (
            "database_url = 'postgresql://u:pq7Zx%zz@h'",
            "pq7Zx",
            "database_url contains a % that does not begin an escape",
        ),
        ("database_url = 'postgresql://u:pq7Zx@h:port/d'", "pq7Zx", "database_url has a port that is not a number"),
        ("database_url = ['pq7Zx']", "pq7Zx", "database_url must be a string in quotes"),
        (
            "database_session_url = 'postgresql://u:pq7Zx@h/d'",
            "pq7Zx",
            "database_session_url is the second way to a database: set database_url, the first",
        ),
        ("database_session_url = 'pq7Zx'", "pq7Zx", "database_session_url must be empty (the embedded database) or"),
    ],
)
def test_no_message_shows_a_secret(tmp_path: Path, text: str, secret: str, message: str) -> None:
    told = refusal(tmp_path, text)
    assert secret not in told
    assert f": {message}" in told


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("LISTN", "h:1", ": unknown variable; did you mean PRESENCE_LEDGER_LISTEN?"),
        ("PORT", "8640", ": unknown variable; "),
        ("WHATEVER_ELSE", "1", ": unknown variable; `docs/operations.md` lists them"),
        ("listen", "h:1", ": unknown variable"),
        ("LISTEN", "h", ": listen must be host:port like 127.0.0.1:8640 or [::1]:8640"),
        ("QUEUE_ITEMS", "many", ": queue_items must be a whole number, not 'many'"),
        ("QUEUE_ITEMS", "0", ": queue_items must be at least 1, not 0"),
        ("POLICY_GRACE_SECONDS", "", ": policy.grace_seconds must be a number, not ''"),
        ("POLICY_GRACE_SECONDS", "nan", ": policy.grace_seconds must be a finite number, not nan"),
        ("SOURCES_0_PROFILE", "v9", ": sources[0].profile must be one of v1, v2.1, v2.2, v3, not 'v9'"),
        ("SOURCES_2_NAME", "far", ": number 1 is missing before it; they count from 0"),
        ("SOURCES_1_PROFILE", "v3", ": sources[1].name is missing"),
        ("SOURCES_0_NODES_0_TOKEN", "", ": sources[0].nodes[0].token may contain only visible ASCII characters"),
        ("API_KEYS_OPS_KEY", "12345678", ": api_keys.ops.scopes is missing"),
        ("DATABASE_URL", "pq7Zx", ": database_url must be empty"),
        (
            "SOURCES_0_WEBHOOK_SECRET",
            "pq7Zx,pq7Zx",
            ": sources[0].webhook_secret[0] must have 8 to 256 characters, not 5",
        ),
    ],
)
def test_a_mistake_in_the_environment_is_told_with_its_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    told = refusal(tmp_path, **{name: value})
    assert told.startswith(f"PRESENCE_LEDGER_{name}{message}")
    assert "pq7Zx" not in told


def test_a_variable_is_blamed_before_the_line_that_it_overrides(tmp_path: Path) -> None:
    told = refusal(tmp_path, "listen = 'h:1'", LISTEN="h:x")
    assert told == "PRESENCE_LEDGER_LISTEN: listen must end in a port from 1 to 65535"


def test_the_file_is_blamed_for_what_no_variable_can_mend(tmp_path: Path) -> None:
    assert refusal(tmp_path, "policy = 1", POLICY_GRACE_SECONDS="1") == (
        "presence-ledger.toml, line 1: policy must be a table, not 1"
    )


def test_the_first_of_several_mistakes_is_told_with_their_number(tmp_path: Path) -> None:
    told = refusal(tmp_path, "listen = 1\nlog_level = 2\nrejected_bytes = 'x'")
    assert told.splitlines() == [
        "presence-ledger.toml, line 1: listen must be a string in quotes, not 1",
        "(and 2 more after it)",
    ]


def test_a_named_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(Path("mine.toml"), environ={}, folder=tmp_path)
    assert str(caught.value) == "mine.toml cannot be read: No such file or directory"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path, environ={})


@pytest.mark.parametrize("text", ["a = " + "[" * 5000 + "]" * 5000, f"a = {'9' * 5000}"])
def test_what_the_parser_cannot_hold_is_a_mistake_too(tmp_path: Path, text: str) -> None:
    assert refusal(tmp_path, text).startswith("presence-ledger.toml: this TOML cannot be read: ")
