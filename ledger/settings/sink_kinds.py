"""The sinks of the settings, kind by kind: what a kind must and may say, and the settings that come of it."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from ledger.settings.edge import SettingsTable, SinkTable
from ledger.settings.lines import KeyPath
from ledger.settings.problems import SettingProblem
from ledger.settings.sinks import RedisSettings, SinkKind, SinkSettings, WebhookSettings, WukongimSettings

COMMON = frozenset({"name", "kind", "list", "coalesce_seconds", "every", "batch"})
OWN: dict[SinkKind, frozenset[str]] = {
    "webhook": frozenset({"url", "secret"}),
    "wukongim": frozenset({"source", "from_uid", "sends_per_second"}),
    "redis": frozenset({"url", "prefix", "hot_seconds"}),
}
"""The keys that a kind has beside the common ones."""

REQUIRED: dict[SinkKind, tuple[str, ...]] = {"webhook": ("url", "secret"), "wukongim": (), "redis": ("url",)}

NEVER_EVERY = frozenset({"wukongim", "redis"})
"""Kinds that tell what is, of which every step in between is nothing to them."""

SCHEMES = {"webhook": ("http", "https"), "redis": ("redis", "rediss", "unix")}


def problems(table: SettingsTable) -> Iterator[SettingProblem]:
    """What keeps sinks from being used, beside the form of each value."""
    for index, sink in enumerate(table.sinks):
        here: KeyPath = ("sinks", index)
        own = OWN[sink.kind]
        for key in sorted(sink.model_fields_set - COMMON - own):
            yield SettingProblem((*here, key), f"is not a setting of the kind {sink.kind}; its own: {_listed(own)}")
        for key in REQUIRED[sink.kind]:
            if not getattr(sink, key):
                yield SettingProblem((*here, key), "is missing")
        if sink.url and (reason := _unfit_url(sink.kind, sink.url)):
            yield SettingProblem((*here, "url"), reason)
        if sink.every and sink.kind in NEVER_EVERY:
            yield SettingProblem(
                (*here, "every"), f"must not be true: the kind {sink.kind} tells what is, not each step"
            )
        yield from _source_problem(table, sink, here)


def _source_problem(table: SettingsTable, sink: SinkTable, here: KeyPath) -> Iterator[SettingProblem]:
    if sink.kind != "wukongim":
        return
    names = [each.name for each in table.sources]
    if not sink.source and len(names) > 1:
        yield SettingProblem((*here, "source"), f"is missing: name one of the sources ({', '.join(names)})")
    elif sink.source and sink.source not in names:
        yield SettingProblem((*here, "source"), f"must be one of {', '.join(names)}, not {sink.source!r}")
    elif not any(
        node.api_url for each in table.sources if each.name in (sink.source or names[0]) for node in each.nodes
    ):
        yield SettingProblem((*here, "source"), "needs a node with an api_url: what is sent goes through it")


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _unfit_url(kind: SinkKind, url: str) -> str | None:
    """Why an address is none that this kind can tell; never with the address, which may hold a password."""
    schemes = SCHEMES.get(kind, ())
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in schemes or not (parts.hostname or parts.scheme == "unix"):
        example = {"webhook": "https://app.example/presence", "redis": "redis://127.0.0.1:6379/0"}[kind]
        return f"must be a URL like {example}"
    if kind == "webhook" and parts.fragment:
        return "must not have a fragment (#…): it is never sent"
    return None


def settings_of(tables: Sequence[SinkTable], sources: Sequence[str]) -> tuple[SinkSettings, ...]:
    """The sinks in force; `sources` are the names of the sources."""
    return tuple(_settings_of(each, sources) for each in tables)


def _settings_of(table: SinkTable, sources: Sequence[str]) -> SinkSettings:
    given = table.model_dump(include=set(table.model_fields_set) - {"kind", "secret"})
    match table.kind:
        case "webhook":
            return WebhookSettings(**given, secrets=tuple(table.secret))
        case "wukongim":
            return WukongimSettings(**{"source": sources[0], **given})
        case "redis":
            return RedisSettings(**given)
