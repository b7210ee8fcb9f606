"""What differs between the settings in force and those read anew: which of it a running service takes, which it cannot.

Settings are named as people would: entries of a list by the name that they have, `sinks.app.secret`. No value is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

import msgspec

from ledger.alerts.thresholds import Thresholds
from ledger.settings.canaries import CanarySettings
from ledger.settings.model import Settings

TAKEN = frozenset(
    {
        "sources", "policy", "reach", "api_keys", "sinks", "notify", "alerts", "front_origins", "metrics_scope",
        "max_body_bytes", "log_level", "log_format",
    }
)  # fmt: skip
"""The fields of the settings that a running service takes; all others are read at its start."""

DERIVED = frozenset({"file", "origins", "dark_seconds"})
"""What follows from other settings, or says where they stand."""

SHOWN = {"reach": "policy", "webhook_secrets": "webhook_secret", "secrets": "secret", "canaries": "canary"}
"""The fields that the file names otherwise."""

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class SettingChange:
    """One setting that differs, by its name."""

    setting: str
    kind: Kind


@dataclass(frozen=True)
class SettingsDifference:
    """What differs, and what follows from it."""

    settings: Settings
    """Those that a running service goes on with: the new ones, but for what it cannot take."""
    taken: tuple[SettingChange, ...]
    restart: tuple[SettingChange, ...]
    """What takes effect at the next start."""


def difference(old: Settings, new: Settings) -> SettingsDifference:
    """What differs between the settings in force and those read anew."""
    changes = {
        each.name: list(_compared(SHOWN.get(each.name, each.name), getattr(old, each.name), getattr(new, each.name)))
        for each in fields(Settings)
        if each.name not in DERIVED
    }
    left = [name for name, found in changes.items() if found and name not in TAKEN]
    origins = {key: origin for key, origin in new.origins.items() if _top(key) not in left}
    origins |= {key: origin for key, origin in old.origins.items() if _top(key) in left}
    merged = replace(new, origins=origins, **{name: getattr(old, name) for name in left})
    taken = [each for name, found in changes.items() if name in TAKEN for each in found]
    return SettingsDifference(merged, tuple(taken), tuple(each for name in left for each in changes[name]))


def _compared(key: str, old: Any, new: Any) -> Iterator[SettingChange]:
    """What differs of one value, as far down as it has names."""
    if old == new:
        return
    before, after = _parts(old), _parts(new)
    if before is None or after is None or type(old) is not type(new):
        yield SettingChange(key, "changed")
        return
    for name in dict.fromkeys((*before, *after)):
        here = f"{key}.{name}"
        if name not in after:
            yield SettingChange(here, "removed")
        elif name not in before:
            yield SettingChange(here, "added")
        else:
            yield from _compared(here, before[name], after[name])
    if isinstance(old, tuple) and before == after:
        yield SettingChange(key, "changed")  # in their order alone


def _parts(value: Any) -> Mapping[str, Any] | None:
    """What a value consists of, by name; None where it has no parts with names."""
    if isinstance(value, tuple):
        return {_name(each): each for each in value} if all(is_dataclass(each) for each in value) else None
    if isinstance(value, Thresholds):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.name != "numbers"} | dict(
            value.numbers
        )
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    if is_dataclass(value):
        names = (each.name for each in fields(value) if each.name not in DERIVED)
        return {SHOWN.get(name, name): getattr(value, name) for name in names}
    return None


def _name(entry: Any) -> str:
    """The name of an entry of a list; of a canary, its node and its uid."""
    return f"{entry.node}:{entry.uid}" if isinstance(entry, CanarySettings) else str(entry.name)


def _top(key: str) -> str:
    return key.partition(".")[0].partition("[")[0]
