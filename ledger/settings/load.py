"""Reads the settings: the file, then the environment over it, then the defaults, each value with its origin."""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import ValidationError

from ledger import archive_folder
from ledger.archive_folder import Folder
from ledger.domain.policy import Policy
from ledger.domain.profile import Profile
from ledger.domain.reach_policy import ReachPolicy
from ledger.errors import SettingsError
from ledger.settings import authorities, canary_checks, environment, notices, sink_kinds
from ledger.settings.authorities import Bases
from ledger.settings.edge import DEFAULT_NODE, DEFAULT_SOURCE, SettingsTable
from ledger.settings.environment import Assignment
from ledger.settings.lines import KeyPath, locate
from ledger.settings.model import ApiKeySettings, NodeSettings, Origin, Settings, SourceSettings, with_implied
from ledger.settings.problems import SettingProblem, dotted_key, from_validation_error
from ledger.settings.values import parse_listen

FILE_NAME = "presence-ledger.toml"

MADE_HERE = {
    "data_dir", "seal_keys", "listen", "front_listen", "front_origins", "sources", "policy", "api_keys", "sinks",
    "notify", "alerts", "audit", "retention",
}  # fmt: skip
"""What the settings in force have in another form than the file."""

Tree = dict[str, Any]

_PLACE = re.compile(r"(?P<reason>.*) \(at (line (?P<line>\d+), column \d+|end of document)\)", re.DOTALL)


class _File(NamedTuple):
    path: Path
    shown: str


def load(config: Path | None = None, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Returns the settings in force.

    `config` is the file to read, which must exist; without it `presence-ledger.toml` in `folder` (the working folder)
    is read where there is one. `environ` is this process's unless given. Raises SettingsError, which names the file and
    the line, or the variable, of the first problem.
    """
    folder = (folder or Path.cwd()).absolute()
    environ = os.environ if environ is None else environ
    if config is None and environ.get(environment.CONFIG):
        config = Path(environ[environment.CONFIG])
    file = _file(config, folder)
    text = _text(file) if file else ""
    tree = _parse(text, file) if file else {}
    named_keys = tree.get("api_keys")
    assignments, problems = environment.read(environ, named_keys if isinstance(named_keys, dict) else ())
    for assignment in assignments:
        problems += _assign(tree, assignment)
    places = _Places(file, locate(text), {each.path: each.variable for each in assignments})
    if problems:
        raise places.error(problems)
    try:
        table = SettingsTable.model_validate(tree)
    except ValidationError as error:
        raise places.error(from_validation_error(error)) from None
    bases = Bases(file.path.parent if file else folder, folder, places.origins())
    if problems := [*_duplicates(table), *_pointless_forwarding(table), *_unfit(table, bases)]:
        raise places.error(problems)
    return _settings(table, file, places.origins(), bases)


def _file(config: Path | None, folder: Path) -> _File | None:
    if config is not None:
        return _File(folder / config, str(config))
    default = folder / FILE_NAME
    return _File(default, FILE_NAME) if default.exists() else None


def _text(file: _File) -> str:
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file.shown} cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{file.shown}, line {line}: the text is not UTF-8") from None


def _parse(text: str, file: _File) -> Tree:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.fullmatch(str(error))
        reason = place["reason"] if place else str(error)
        line = (place and place["line"]) or text.rstrip("\n").count("\n") + 1
        raise SettingsError(f"{file.shown}, line {line}: this is not TOML: {reason}") from None
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file.shown}: this TOML cannot be read: {error}") from None


def _assign(tree: Tree, assignment: Assignment) -> list[SettingProblem]:
    here: Any = tree
    for part, following in pairwise(assignment.path):
        fresh: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            if part > len(here):
                return [
                    SettingProblem(
                        (), f"number {len(here)} is missing before it; they count from 0", assignment.variable
                    )
                ]
            if part == len(here):
                here.append(fresh)
            here = here[part]
        else:
            here = here.setdefault(part, _default_list(part) or fresh)
        if not isinstance(here, type(fresh)):
            return []  # the file's own mistake, which the validation reports
    here[assignment.path[-1]] = assignment.value
    return []


def _default_list(part: str) -> list[Tree]:
    return {"sources": [{"name": DEFAULT_SOURCE}], "nodes": [{"name": DEFAULT_NODE}]}.get(part, [])


class _Places:
    """Where each key was set."""

    def __init__(self, file: _File | None, lines: Mapping[KeyPath, int], variables: Mapping[KeyPath, str]) -> None:
        self.shown = file.shown if file else ""
        self.lines = lines
        self.variables = variables

    def origins(self) -> dict[str, Origin]:
        from_file = {dotted_key(path): Origin("file", f"{self.shown}:{line}") for path, line in self.lines.items()}
        return from_file | {dotted_key(path): Origin("environment", name) for path, name in self.variables.items()}

    def error(self, problems: Sequence[SettingProblem]) -> SettingsError:
        first = problems[0]
        text = f"{self.place(first)}{' ' if first.path else ''}{first.text}"
        if len(problems) > 1:
            text += f"\n(and {len(problems) - 1} more after it)"
        return SettingsError(text)

    def place(self, problem: SettingProblem) -> str:
        if problem.variable:
            return f"{problem.variable}: {dotted_key(problem.path)}"
        key = dotted_key(problem.path)
        for length in range(len(problem.path), 0, -1):
            prefix = problem.path[:length]
            beneath = (name for path, name in self.variables.items() if path[:length] == prefix)
            if name := self.variables.get(prefix) or (None if prefix in self.lines else next(beneath, None)):
                return f"{name}: {key}"
            if line := self.lines.get(prefix):
                return f"{self.shown}, line {line}: {key}"
        return f"{self.shown}: {key}"


def _duplicates(table: SettingsTable) -> Iterator[SettingProblem]:
    yield from _repeated_names((), "sources", [source.name for source in table.sources])
    for index, source in enumerate(table.sources):
        yield from _repeated_names(("sources", index), "nodes", [node.name for node in source.nodes])
    yield from _repeated_names((), "sinks", [sink.name for sink in table.sinks])
    yield from _repeated_names((), "notify", [each.name for each in table.notify])
    seen: dict[str, str] = {}
    for name, api_key in table.api_keys.items():
        if other := seen.get(api_key.key):
            yield SettingProblem(("api_keys", name, "key"), f"is the same key as that of {other}")
        seen.setdefault(api_key.key, name)


def _unfit(table: SettingsTable, bases: Bases) -> Iterator[SettingProblem]:
    if table.database_session_url and not table.database_url:
        yield SettingProblem(("database_session_url",), "is the second way to a database: set database_url, the first")
    yield from authorities.problems(bases, table)
    yield from sink_kinds.problems(table)
    yield from canary_checks.problems(table)


def _pointless_forwarding(table: SettingsTable) -> Iterator[SettingProblem]:
    """Forwarding that leads nowhere, or back to us."""
    for index, source in enumerate(table.sources):
        if source.forward_presence and source.forward_url is None:
            yield SettingProblem(("sources", index, "forward_presence"), "needs a forward_url to forward to")
        if source.forward_url is not None and _is_own_address(source.forward_url, table.listen):
            yield SettingProblem(
                ("sources", index, "forward_url"),
                "is the address of presence ledger itself: name where WuKongIM's webhooks went before",
            )


def _is_own_address(url: str, listen: str) -> bool:
    ours, parts = parse_listen(listen), urlsplit(url)
    here = parts.hostname in {ours.host, "localhost", "127.0.0.1", "::1"}
    return here and parts.port == ours.port and parts.path.startswith("/hooks/")


def _repeated_names(outer: KeyPath, kind: str, names: Sequence[str]) -> Iterator[SettingProblem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield SettingProblem(
                (*outer, kind, index, "name"), f"is taken: {name!r} is already the name of one of the {kind}"
            )


def _settings(table: SettingsTable, file: _File | None, origins: Mapping[str, Origin], bases: Bases) -> Settings:
    numbers = table.policy.model_dump()
    reach = ReachPolicy(**{name: numbers.pop(name) for name in ReachPolicy.__struct_fields__})
    policy = Policy(**numbers)
    plain = table.model_dump(exclude=MADE_HERE)
    return Settings(
        file=file.path if file else None,
        data_dir=bases.resolve("data_dir", table.data_dir),
        seal_keys=tuple(table.seal_keys),
        listen=parse_listen(table.listen),
        front_listen=parse_listen(table.front_listen) if table.front_listen else None,
        front_origins=tuple(table.front_origins),
        sources=tuple(
            _source(table, number, policy, bases, "policy.dark_seconds" in origins)
            for number in range(len(table.sources))
        ),
        policy=policy,
        reach=reach,
        api_keys=tuple(
            ApiKeySettings(name, with_implied(api_key.scopes), api_key.key) for name, api_key in table.api_keys.items()
        ),
        sinks=sink_kinds.settings_of(table.sinks, [source.name for source in table.sources]),
        notify=notices.notify_of(table.notify),
        alerts=notices.thresholds_of(table.alerts),
        reads=table.audit.reads,
        reads_days=table.audit.reads_days,
        events_days=table.retention.events_days,
        archive_dir=_archive_dir(table, bases),
        origins=origins,
        **plain,
    )


def _archive_dir(table: SettingsTable, bases: Bases) -> Folder:
    given = table.retention.archive_dir
    if not given:
        return bases.resolve("data_dir", table.data_dir) / "archive"
    return (
        archive_folder.read(given) if archive_folder.is_bucket(given) else bases.resolve("retention.archive_dir", given)
    )


def _source(table: SettingsTable, number: int, policy: Policy, bases: Bases, dark_is_set: bool) -> SourceSettings:
    source = table.sources[number]
    nodes = tuple(
        NodeSettings(
            node.name,
            node.api_url,
            node.token,
            Profile(node.profile) if node.profile else None,
            authorities.authority_file(bases, table, number, place),
        )
        for place, node in enumerate(source.nodes)
    )
    can_be_asked = any(node.api_url for node in nodes)
    return SourceSettings(
        name=source.name,
        profile=Profile(source.profile),
        nodes=nodes,
        dark_seconds=policy.dark_seconds if can_be_asked or dark_is_set else 0.0,
        webhook_secrets=tuple(source.webhook_secret),
        forward_url=source.forward_url,
        forward_presence=source.forward_presence,
        canaries=canary_checks.settings_of(source),
    )
