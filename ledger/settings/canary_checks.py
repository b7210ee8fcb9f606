"""The canaries of the settings together: whom they must not be, and the settings that come of them."""

from collections.abc import Iterator
from zlib import crc32

from ledger.settings.canaries import CanarySettings
from ledger.settings.edge import SettingsTable, SourceTable
from ledger.settings.lines import KeyPath
from ledger.settings.problems import SettingProblem
from ledger.settings.values import parse_listen

SLOTS = 64
SILENT_SLOT_PROFILES = ("v2.1", "v2.2")
"""From v2.1.1 on they never tell that a user of slot 0 has gone."""


def problems(table: SettingsTable) -> Iterator[SettingProblem]:
    """What keeps canaries from being used, beside the form of each value."""
    seen: dict[str, str] = {}
    for number, source in enumerate(table.sources):
        nodes: set[str] = set()
        for place, canary in enumerate(source.canary):
            here: KeyPath = ("sources", number, "canary", place)
            known = [node.name for node in source.nodes]
            if canary.node not in known:
                yield SettingProblem((*here, "node"), f"must be one of {', '.join(known)}, not {canary.node!r}")
            elif canary.node in nodes:
                yield SettingProblem((*here, "node"), f"is taken: {canary.node!r} has a canary already")
            nodes.add(canary.node)
            if other := seen.get(canary.uid):
                yield SettingProblem((*here, "uid"), f"is taken: it is the canary of {other} already")
            seen.setdefault(canary.uid, f"{source.name}, {canary.node}")
            if _is_silent(source, canary.node, canary.uid):
                yield SettingProblem(
                    (*here, "uid"),
                    "belongs to slot 0, whose users v2.1.1 to v2.2 never report as offline: append a digit, say",
                )


def settings_of(source: SourceTable) -> tuple[CanarySettings, ...]:
    """The canaries of a source, without problems."""
    return tuple(
        CanarySettings(
            canary.node,
            *parse_listen(canary.address),
            uid=canary.uid,
            device_flag=canary.device_flag,
            every_seconds=canary.every_seconds,
            wait_seconds=canary.wait_seconds,
            token=canary.token,
        )
        for canary in source.canary
    )


def _is_silent(source: SourceTable, node: str, uid: str) -> bool:
    profile = next((each.profile for each in source.nodes if each.name == node and each.profile), source.profile)
    return profile in SILENT_SLOT_PROFILES and crc32(uid.encode()) % SLOTS == 0
