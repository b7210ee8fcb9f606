"""The rules of the service's own alerts."""

from collections.abc import Callable, Iterable, Mapping

from ledger.alerts.condition import HOLDS, NOT, Condition, Key, share_of
from ledger.alerts.facts import AlertFacts, InstanceFacts
from ledger.domain.alert_events import Figures
from ledger.domain.instants import to_text
from ledger.domain.observation import SECOND, Instant

Of = Callable[[str], float]
"""The alert's own thresholds."""


def _projection_stopped(facts: AlertFacts, _: Of) -> Iterable[Condition] | None:
    if facts.projections is None:
        return None
    return [
        Condition(Key("projection_stopped", subject=each.name), HOLDS, {"position": position, "reason": each.reason})
        for each in facts.projections
        if (position := each.stopped_position) is not None
    ]


def _projection_lagging(facts: AlertFacts, of: Of) -> Iterable[Condition] | None:
    if facts.projections is None:
        return None
    # One that has stopped lags for that.
    return [
        Condition(Key("projection_lagging", subject=each.name), share_of(each.lag, of("events")), {"lag": each.lag})
        for each in facts.projections
        if each.stopped_position is None
    ]


def _sink_failing(facts: AlertFacts, of: Of) -> Iterable[Condition] | None:
    if facts.sinks is None:
        return None
    return [
        Condition(
            Key("sink_failing", subject=each.name),
            HOLDS if each.is_stopped else _lasting(facts.at, each.failing_since, of("after_seconds")),
            {"failing_since_at": to_text(each.failing_since), "reason": each.reason},
            each.failing_since,
        )
        for each in facts.sinks
        if each.failing_since is not None
    ]


def _store_unavailable(facts: AlertFacts, _: Of) -> Iterable[Condition]:
    if (store := facts.store) is None:
        return ()
    since = store.failing_since
    figures: Figures = {"failing_since_at": to_text(since), "reason": store.reason}
    if store.is_spooled:
        figures = {**figures, "spooled": 1}
    return [Condition(Key("store_unavailable"), HOLDS, figures, since)]


def _spool_growing(facts: AlertFacts, of: Of) -> Iterable[Condition]:
    return _of_each_host(facts.instances, lambda each: _spool_of(each, of))


def _spool_of(instance: InstanceFacts, of: Of) -> Condition | None:
    if not instance.spool_max_bytes:
        return None
    level = share_of(instance.spool_bytes, of("share") * instance.spool_max_bytes)
    figures: Figures = {
        "spool_bytes": instance.spool_bytes,
        "spool_max_bytes": instance.spool_max_bytes,
        "webhooks": instance.spooled,
    }
    return Condition(Key("spool_growing", subject=instance.host), level, figures)


def _archive_failing(facts: AlertFacts, of: Of) -> Iterable[Condition]:
    return _of_each_host(facts.instances, lambda each: _archive_of(each, facts.at, of))


def _archive_of(instance: InstanceFacts, at: Instant, of: Of) -> Condition | None:
    if (since := instance.archive_failing_since) is None:
        return None
    level = _lasting(at, since, of("waits_seconds")) if instance.archive_waits else HOLDS
    figures: Figures = {"failing_since_at": to_text(since), "reason": instance.archive_reason}
    return Condition(Key("archive_failing", subject=instance.host), level, figures, since)


def _disk_low(facts: AlertFacts, of: Of) -> Iterable[Condition]:
    return _of_each_host(facts.instances, lambda each: _disk_of(each, of))


def _disk_of(instance: InstanceFacts, of: Of) -> Condition | None:
    free = instance.free_bytes
    if free is None:
        return None
    least = max(of("share") * instance.size_bytes, of("bytes"))
    figures: Figures = {"free_bytes": free, "size_bytes": instance.size_bytes, "folder": instance.folder}
    return Condition(Key("disk_low", subject=instance.host), least / max(1, free), figures)


def _clock_skew(facts: AlertFacts, of: Of) -> Iterable[Condition]:
    yield from _of_each_host(facts.instances, lambda each: _clock_of(each, of))
    for source in facts.sources or ():
        for node in source.nodes:
            if (offset := node.clock_offset_seconds) is not None:
                key = Key("clock_skew", source.name, node.name)
                yield Condition(key, share_of(abs(offset), of("seconds")), _apart(offset, "service"))


def _clock_of(instance: InstanceFacts, of: Of) -> Condition | None:
    if (offset := instance.clock_offset_seconds) is None:
        return None
    level = share_of(abs(offset), of("seconds"))
    return Condition(Key("clock_skew", subject=instance.host), level, _apart(offset, "database"))


def _apart(offset: float, other: str) -> dict[str, str | int | float]:
    return {"offset_seconds": round(abs(offset), 3), "other": other}


def _notify_failing(facts: AlertFacts, of: Of) -> Iterable[Condition]:
    return [
        Condition(Key("notify_failing", subject=each.name), NOT if each.tells else None)
        if (since := each.failing_since) is None
        else Condition(
            Key("notify_failing", subject=each.name),
            _lasting(facts.at, since, of("after_seconds")),
            {"failing_since_at": to_text(since), "reason": each.reason, "waiting": each.waiting},
            since,
        )
        for each in facts.notify
    ]


def _of_each_host(
    instances: Iterable[InstanceFacts], condition: Callable[[InstanceFacts], Condition | None]
) -> Iterable[Condition]:
    """Of several instances on a machine, the one that fares worst."""
    worst: dict[Key, Condition] = {}
    for each in filter(None, map(condition, instances)):
        if each.key not in worst or worst[each.key].known_level < each.known_level:
            worst[each.key] = each
    return worst.values()


def _lasting(at: Instant, since: Instant, seconds: float) -> float:
    """The level of what has lasted since then, and holds from so many seconds on; it ends when it no longer lasts."""
    level = share_of((at - since) / SECOND, seconds)
    return level if level >= HOLDS else NOT


RULES: Mapping[str, Callable[[AlertFacts, Of], Iterable[Condition] | None]] = {
    "projection_stopped": _projection_stopped,
    "projection_lagging": _projection_lagging,
    "sink_failing": _sink_failing,
    "store_unavailable": _store_unavailable,
    "spool_growing": _spool_growing,
    "archive_failing": _archive_failing,
    "disk_low": _disk_low,
    "clock_skew": _clock_skew,
    "notify_failing": _notify_failing,
}
