"""Checks that every key of a TOML text is found on the line where it stands."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.settings.lines import KeyPath, locate

TEXT = '''\
# a comment with [brackets] and a = sign
data_dir = "./a # no comment"  # one
listen = \'127.0.0.1:8640\'

text = """
[policy]
not_a_key = 1 \\""" still inside
"""
literal = \'\'\'
[[sources]]
\'\'\'

[[sources]]
name = "main"
webhook_secret = [
  "first",  # the newest
  # none here
  "second",
]
  [[sources.nodes]]
  name = "n1"
  [[sources.nodes]]
  name = "n2"

[[sources]]
"name" = "other"
nodes = [{ name = "n1", api_url = "http://h" }, { name = "n2" }]

[policy]
grace_seconds = 1
limits.deep."er est" = 2

[api_keys]
app = { key = "k", scopes = ["read"] }
'''


def line_of(fragment: str) -> int:
    return TEXT[: TEXT.index(fragment)].count("\n") + 1


def test_keys_of_tables_lists_and_inline_tables_are_found() -> None:
    lines = locate(TEXT)
    assert lines[("data_dir",)] == 2
    assert lines[("listen",)] == 3
    assert lines[("sources",)] == line_of("[[sources]]\nname")
    assert lines[("sources", 0, "webhook_secret", 1)] == line_of('"second"')
    assert lines[("sources", 0, "nodes", 1, "name")] == line_of('name = "n2"')
    assert lines[("sources", 1, "name")] == line_of('"name" = "other"')
    assert lines[("sources", 1, "nodes", 0, "api_url")] == line_of("nodes = [{")
    assert lines[("policy",)] == line_of("[policy]\ngrace")
    assert lines[("policy", "limits", "deep", "er est")] == line_of("limits.deep")
    assert lines[("api_keys", "app", "scopes")] == line_of("app = {")


def test_what_stands_in_strings_and_comments_is_no_key() -> None:
    lines = locate(TEXT)
    assert ("not_a_key",) not in lines
    assert ("policy", "not_a_key") not in lines
    assert ("sources", 2) not in lines


def test_lines_end_as_they_do_on_windows_too() -> None:
    assert locate("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}


keys = st.from_regex(r"\A[a-z_-]{1,6}\Z") | st.just('"a.b = [c]"') | st.just("'#'")
scalars = st.sampled_from(
    [
        '"text"',
        "'li#teral'",
        '"""\nmany = 1\n[lines]\n""""',
        "''''quote'''",
        "1",
        "-1.5e3",
        "true",
        "1979-05-27 07:32:00",
    ]
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[\n" + ", # comment ]\n".join(parts) + "\n]")
        | st.dictionaries(keys, inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=6,
)
tables = st.dictionaries(keys, values, max_size=4)


@given(tables, st.dictionaries(keys, tables, max_size=3), st.lists(tables, max_size=3))
def test_the_paths_are_exactly_those_of_the_parsed_text(
    top: dict[str, str], named: dict[str, dict[str, str]], listed: list[dict[str, str]]
) -> None:
    parts = [_assignments("", top)]
    parts += [f"[t.{name}] # table\n{_assignments('', table)}" for name, table in named.items()]
    parts += [f"[[ l . list ]]\n{_assignments('', table)}" for table in listed]
    text = "\n".join(parts)
    parsed = _parsed(text)
    if parsed is not None:
        lines = locate(text)
        assert set(lines) == set(_paths(parsed, ()))
        assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())


def _assignments(prefix: str, table: dict[str, str]) -> str:
    return "".join(f"{prefix}{key} = {value}\n" for key, value in table.items())


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        # Two keys that mean the same, as a and "a".
        return None


def _paths(value: object, path: KeyPath) -> list[KeyPath]:
    if isinstance(value, dict):
        inner = [each for key, part in value.items() for each in _paths(part, (*path, key))]
    elif isinstance(value, list):
        inner = [each for index, part in enumerate(value) for each in _paths(part, (*path, index))]
    else:
        inner = []
    return [path, *inner] if path else inner
