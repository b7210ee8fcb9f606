"""Lists the settings in force as `config` shows them: key, value and origin, no secret among them."""

from collections.abc import Iterator
from dataclasses import fields
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ledger.database_url import MASK
from ledger.database_url import masked as mask_url
from ledger.settings.canaries import CanarySettings
from ledger.settings.model import Listen, Origin, Settings
from ledger.settings.sinks import SinkSettings

DARK = "policy.dark_seconds"
MADE = "(made at the first start, kept in data_dir)"

Value = str | int | float | list[str] | None


class Entry(NamedTuple):
    """One setting; `value` is masked where it is a secret, and None where nothing is set."""

    key: str
    value: Value
    origin: Origin


def entries(settings: Settings) -> list[Entry]:
    """Returns every setting in the order of the documents."""
    listed = [Entry(key, value, _origin(settings, key)) for key, value in _values(settings)]
    return listed + [_dark(settings, index) for index in range(len(settings.sources))]


def _origin(settings: Settings, key: str) -> Origin:
    """Where the value in force came from: a node's authority may be its source's."""
    if key.endswith(".api_ca_file") and key not in settings.origins:
        return settings.origin(f"{key.partition('.')[0]}.api_ca_file")
    return settings.origin(key)


def _dark(settings: Settings, index: int) -> Entry:
    """The policy's number for one source: where it was not set, it depends on whether its nodes can be asked."""
    source, origin = settings.sources[index], settings.origin(DARK)
    if source.dark_seconds != settings.policy.dark_seconds:
        origin = Origin("default", "default: none of its nodes has an api_url")
    return Entry(f"sources[{index}].{DARK}", source.dark_seconds, origin)


def _masked_address(url: str | None) -> str | None:
    """An http(s) address that was checked at the edge, without the password that it may hold."""
    if url is None:
        return None
    parts = urlsplit(url)
    user, at, address = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:{MASK}@{address}" if at else address))


def _canary_values(here: str, canary: CanarySettings) -> Iterator[tuple[str, Value]]:
    yield f"{here}.node", canary.node
    yield f"{here}.address", str(Listen(canary.host, canary.port))
    yield f"{here}.uid", canary.uid
    yield f"{here}.token", MASK if canary.token else None
    for name in ("device_flag", "every_seconds", "wait_seconds"):
        yield f"{here}.{name}", getattr(canary, name)


def _sink_values(here: str, sink: SinkSettings) -> Iterator[tuple[str, Value]]:
    yield f"{here}.name", sink.name
    yield f"{here}.kind", sink.kind
    for each in fields(sink):
        value = getattr(sink, each.name)
        match each.name:
            case "name" | "kind":
                pass
            case "secrets":
                yield f"{here}.secret", [MASK] * len(value)
            case "url":
                yield f"{here}.url", _masked_query(_masked_address(value) or "")
            case name:
                yield f"{here}.{name}", value


def _masked_query(url: str) -> str:
    """Without what stands after the question mark: that is where keys are."""
    address, mark, _ = url.partition("?")
    return address + mark + (MASK if mark else "")


def _bounds(settings: Settings) -> Iterator[tuple[str, Value]]:
    """How much, how long and how many of what."""
    yield "max_connections", settings.max_connections
    yield "max_body_bytes", settings.max_body_bytes
    yield "rejected_bytes", settings.rejected_bytes
    yield "store_wait_seconds", settings.store_wait_seconds
    yield "queue_items", settings.queue_items
    yield "queue_bytes", settings.queue_bytes
    yield "group_items", settings.group_items
    yield "spool_bytes", settings.spool_bytes
    yield "stale_seconds", settings.stale_seconds
    yield "stale_users", settings.stale_users


def _values(settings: Settings) -> Iterator[tuple[str, Value]]:
    yield "data_dir", str(settings.data_dir)
    yield "database_url", mask_url(settings.database_url)
    yield "database_session_url", mask_url(settings.database_session_url)
    yield "database_wait_seconds", settings.database_wait_seconds
    yield "seal_keys", [MASK] * len(settings.seal_keys) or MADE
    yield "listen", str(settings.listen)
    yield "front_listen", str(settings.front_listen or "")
    yield "front_connections", settings.front_connections
    yield "front_origins", list(settings.front_origins)
    yield "metrics_scope", settings.metrics_scope
    yield from _bounds(settings)
    yield "log_level", settings.log_level
    yield "log_format", settings.log_format
    for index, source in enumerate(settings.sources):
        here = f"sources[{index}]"
        yield f"{here}.name", source.name
        yield f"{here}.profile", source.profile.value
        yield f"{here}.webhook_secret", [MASK] * len(source.webhook_secrets) or MADE
        yield f"{here}.forward_url", _masked_address(source.forward_url)
        yield f"{here}.forward_presence", source.forward_presence
        for number, node in enumerate(source.nodes):
            yield f"{here}.nodes[{number}].name", node.name
            yield f"{here}.nodes[{number}].api_url", node.api_url
            yield f"{here}.nodes[{number}].token", MASK if node.token else None
            yield f"{here}.nodes[{number}].api_ca_file", str(node.api_ca_file) if node.api_ca_file else None
            yield f"{here}.nodes[{number}].profile", node.profile.value if node.profile else None
        for number, canary in enumerate(source.canaries):
            yield from _canary_values(f"{here}.canary[{number}]", canary)
    for index, sink in enumerate(settings.sinks):
        yield from _sink_values(f"sinks[{index}]", sink)
    for index, entry in enumerate(settings.notify):
        here = f"notify[{index}]"
        yield f"{here}.name", entry.name
        yield f"{here}.url", entry.masked_url
        yield f"{here}.from_severity", entry.from_severity
        yield f"{here}.lang", entry.lang
    alerts = settings.alerts
    yield "alerts.off", list(alerts.off)
    for name in ("evaluate_seconds", "clear_seconds", "clear_share"):
        yield f"alerts.{name}", getattr(alerts, name)
    yield from ((f"alerts.{name}", value) for name, value in alerts.numbers.items())
    yield "audit.reads", settings.reads
    yield "audit.reads_days", settings.reads_days
    yield "retention.events_days", settings.events_days
    yield "retention.archive_dir", str(settings.archive_dir)
    for policy in (settings.policy, settings.reach):
        yield from ((f"policy.{name}", value) for name, value in msgspec.structs.asdict(policy).items())
    for api_key in settings.api_keys:
        yield f"api_keys.{api_key.name}.key", MASK
        yield f"api_keys.{api_key.name}.scopes", sorted(api_key.scopes)
