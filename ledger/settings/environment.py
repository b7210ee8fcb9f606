"""Reads the settings that the environment gives: one variable for each scalar, named after its place in the file.

`policy.grace_seconds` is `PRESENCE_LEDGER_POLICY_GRACE_SECONDS`, `sources[0].nodes[1].token` is
`PRESENCE_LEDGER_SOURCES_0_NODES_1_TOKEN`, and a list of texts is written with commas.
"""

import difflib
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel

from ledger.settings.edge import SECRET_KEYS, SettingsTable
from ledger.settings.lines import KeyPath
from ledger.settings.problems import SettingProblem

PREFIX = "PRESENCE_LEDGER_"
CONFIG, API_KEY, URL = f"{PREFIX}CONFIG", f"{PREFIX}API_KEY", f"{PREFIX}URL"
SIMULATE_SECRET = f"{PREFIX}SIMULATE_SECRET"
COMMAND_LINE_VARIABLES = frozenset({CONFIG, API_KEY, URL, SIMULATE_SECRET})
"""Read by the command line alone: the file to read, the key and address that queries use, the simulator's secret."""

# Kubernetes adds these to every container in a namespace with a Service that is called presence-ledger.
_KUBERNETES = re.compile(r"PRESENCE_LEDGER_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_[A-Z]+)?)")
_KUBERNETES_PORT = re.compile(r"PRESENCE_LEDGER_PORT=(tcp|udp|sctp)://.*")


class Assignment(NamedTuple):
    """One variable: the key that it sets and the value, already of the key's type."""

    variable: str
    path: KeyPath
    value: object


class _Pattern(NamedTuple):
    variable: re.Pattern[str]
    path: KeyPath
    """An index stands as -1, a free name as an empty text."""
    kind: type
    example: str


def read(environ: Mapping[str, str], named_keys: typing.Iterable[str]) -> tuple[list[Assignment], list[SettingProblem]]:
    """Returns what the variables set, in order of the keys, and what is wrong with them.

    `named_keys` are the names under [api_keys] in the file: a variable in capitals means the same one.
    """
    assignments, problems = [], []
    names = {_capitals(name): name for name in named_keys}
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        if variable in COMMAND_LINE_VARIABLES or _is_from_kubernetes(variable, environ[variable]):
            continue
        found = _find(variable)
        if found is None:
            problems.append(SettingProblem((), f"unknown variable{_nearest(variable)}", variable))
            continue
        pattern, parts = found
        path = _fill(pattern.path, parts, names)
        try:
            assignments.append(Assignment(variable, path, _convert(environ[variable], pattern.kind)))
        except ValueError as error:
            shown = "" if path[-1] in SECRET_KEYS else f", not {environ[variable]!r}"
            problems.append(SettingProblem(path, f"{error}{shown}", variable))
    return sorted(assignments, key=lambda each: each.path), problems


def _is_from_kubernetes(variable: str, value: str) -> bool:
    return bool(_KUBERNETES.fullmatch(variable) or _KUBERNETES_PORT.fullmatch(f"{variable}={value}"))


def _find(variable: str) -> tuple[_Pattern, tuple[str, ...]] | None:
    for pattern in PATTERNS:
        if match := pattern.variable.fullmatch(variable):
            return pattern, match.groups()
    return None


def _fill(path: KeyPath, parts: tuple[str, ...], names: Mapping[str, str]) -> KeyPath:
    given = iter(parts)
    filled: list[str | int] = []
    for part in path:
        if part == -1:
            filled.append(int(next(given)))
        elif part == "":
            name = next(given)
            filled.append(names.get(name, name.lower()))
        else:
            filled.append(part)
    return tuple(filled)


def _convert(text: str, kind: type) -> object:
    if kind is list:
        return [element.strip() for element in text.split(",")]
    if kind is int:
        return _number(text, int, "must be a whole number")
    if kind is float:
        return _number(text, float, "must be a number")
    if kind is bool:
        return _truth(text)
    return text


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _number(text: str, kind: type[int] | type[float], message: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(message) from None


def _nearest(variable: str) -> str:
    nearest = difflib.get_close_matches(variable, [pattern.example for pattern in PATTERNS], n=1, cutoff=0.8)
    return f"; did you mean {nearest[0]}?" if nearest else "; `docs/operations.md` lists them"


def _capitals(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def _patterns(table: type[BaseModel], prefix: str, example: str, path: KeyPath) -> Iterator[_Pattern]:
    for name, field in table.model_fields.items():
        variable, shown, here = f"{prefix}{name.upper()}", f"{example}{name.upper()}", (*path, name)
        annotation: Any = field.annotation
        inner = typing.get_args(annotation)
        origin = typing.get_origin(annotation)
        if origin is list and _is_table(inner[0]):
            yield from _patterns(inner[0], rf"{variable}_(\d{{1,4}})_", f"{shown}_0_", (*here, -1))
        elif origin is dict:
            yield from _patterns(inner[1], rf"{variable}_([A-Z0-9_]+)_", f"{shown}_NAME_", (*here, ""))
        elif _is_table(annotation):
            yield from _patterns(annotation, f"{variable}_", f"{shown}_", here)
        else:
            kind = list if origin is list else annotation if annotation in (int, float, bool) else str
            yield _Pattern(re.compile(variable), here, kind, shown)


def _is_table(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


PATTERNS = tuple(_patterns(SettingsTable, PREFIX, PREFIX, ()))
