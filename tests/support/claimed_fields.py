"""Which field of a cited event each fact of a statement must equal, by the statement's code."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Field(NamedTuple):
    """A field of the cited event of that number; with `size` its length, with `equals` what it must be in any case."""

    name: str
    cited: int = 0
    size: bool = False
    equals: Any = None


Fields = Mapping[str, Field]


def same(*names: str, cited: int = 0) -> dict[str, Field]:
    """Facts that have the names of the fields."""
    return {name: Field(name, cited) for name in names}


def must(cited: int = 0, **fields: Any) -> dict[str, Field]:
    """Fields that every event has which such a statement cites."""
    return {f"_{name}": Field(name, cited, equals=value) for name, value in fields.items()}


ITEM = must(kind="WebhookObserved")
LOOK = must(kind="Corrected")
SWEEP = must(kind="Swept")
WORD = must(kind="OverrideSet")
WORD_ENDED = must(kind="OverrideEnded")
SHOWN_ITEM = ITEM | same("node", "device_flag")
SAID_ITEM = ITEM | same("raw", "received_at", "node", "device_flag", "conn_id", "verdict")

_HEADLINES: Mapping[str, Fields] = {
    "shown_opened": SHOWN_ITEM | must(verdict="opened", status_after="online"),
    "shown_implied": SHOWN_ITEM | must(status_after="online"),
    "shown_closed": SHOWN_ITEM | must(verdict="closed", swept=(), status_after="offline"),
    "shown_emptied": SHOWN_ITEM | must(status_after="offline"),
    "shown_withdrawn": SHOWN_ITEM | must(swept=(), status_after="offline"),
    "shown_first_heard_offline": SHOWN_ITEM | must(status_before="unknown", status_after="offline"),
    "shown_missed": LOOK | same("node") | must(rule=("poll_missed", "connz_missed"), status_after="online"),
    "shown_ghost": LOOK | same("node") | must(rule=("poll_ghost", "connz_ghost"), status_after="offline"),
    "shown_after_boot": LOOK
    | same("node")
    | must(rule=("poll_after_boot", "connz_after_boot"), status_after="offline"),
    "shown_absent": LOOK | same("node") | must(rule=("poll_absent", "connz_absent"), status_before="unknown"),
    "shown_corrected": same("node"),
    "shown_restart": SWEEP | same("node") | must(rule="restart", status_after="offline"),
    "shown_node_retired": SWEEP | same("node") | must(rule="node_retired", status_after="offline"),
    "shown_before_record": must(kind="PresenceImported"),
    "shown_source_dark": same("since", "source") | must(kind="SourceDark"),
    "shown_node_down": same("node"),
}

_CAUSES: Mapping[str, Fields] = {
    "cause_online_item": SAID_ITEM | must(online=True),
    "cause_online_counted_item": SAID_ITEM | must(online=True),
    "cause_offline_item": SAID_ITEM | must(online=False),
    "cause_offline_counted_item": SAID_ITEM | must(online=False),
    "cause_other": must(kind="PresenceImported"),
    "cause_correction": LOOK
    | same("received_at", "node")
    | {"opened": Field("opened", size=True), "closed": Field("closed", size=True)},
    "cause_sweep": SWEEP | same("received_at", "node") | {"ended": Field("ended", size=True)},
    "cause_dark": must(kind="SourceDark") | same("source", "since") | {"noticed_at": Field("at")},
    "cause_node_down": must(kind="NodeDown") | same("node", "since") | {"failure": Field("reason")},
    "cause_node_booted": must(kind="NodeBooted") | same("node", "earliest", "latest"),
    "last_status": {"status": Field("status_after")},
}

_RULES: Mapping[str, Fields] = {
    f"rule_{rule}": {"rule": Field("rule")} | must(rule=rule)
    for rule in (
        *(f"online_{rule}" for rule in ("new", "names_session", "already_open", "repeated")),
        *(f"online_{rule}" for rule in ("overtaken_by_its_offline", "older_than_empty")),
        *(f"offline_{rule}" for rule in ("of_open", "names_session", "already_closed", "repeated", "of_unknown")),
        *(f"poll_{rule}" for rule in ("missed", "ghost", "devices", "absent", "after_boot", "located")),
        *(f"connz_{rule}" for rule in ("missed", "ghost", "devices", "absent", "after_boot", "located")),
        "restart",
        "node_retired",
    )
}

_EVIDENCE: Mapping[str, Fields] = {
    "counts_swept": ITEM | {"number": Field("swept", size=True)},
    "counts_implied": ITEM,
    "counts_withdrawn": ITEM,
    "delivery": must(kind="DeliveryReceived")
    | same("delivery", "node", "received_at", "items", "recorded_at")
    | same("delivery", cited=1),
    "poll": must(kind="PollObserved") | same("poll", "node", "route", "asked_at", "answered_at", "asked", "agreed"),
    "bounds": LOOK | same("agreed_at", "disagreed_at"),
    "bounds_open": LOOK | same("disagreed_at"),
    "looks": LOOK | {"number": Field("looks")},
    **{
        f"attributed_{why}": LOOK | same("attributed_to") | must(attributed_to=why)
        for why in ("node", "restart", "sender", "upstream_defect", "gap")
    },
    "run": must(kind="RunStarted") | same("run", "scope") | {"started_at": Field("at")},
    "booted": must(kind="NodeBooted") | same("node", "earliest", "latest", "route"),
    "retired": must(kind="Configured") | {"configured_at": Field("at")},
    "sweep_bounds": SWEEP | same("earliest", "latest"),
}

_LATER: Mapping[str, Fields] = {
    "next_change": {},
    "reported_again": {},
    "next_dark": must(kind="SourceDark") | same("source"),
    "next_node_down": must(kind="NodeDown") | same("node"),
    "next_node_booted": must(kind="NodeBooted", first=False) | same("node"),
    "grace_ends": must(status_after="offline"),
    "no_change_yet": {"until": Field("recorded_at")},
    "doubt_ended": {"ended_at": Field("at")} | must(kind=("SourceLit", "NodeSettled")),
    "imported_later": must(kind="PresenceImported") | same("received_at") | {"imported_at": Field("recorded_at")},
    "recorded_late": ITEM | same("raw", "received_at", "recorded_at"),
    **dict.fromkeys(
        ("correction_before", "correction_around"), LOOK | same("received_at", "drift", "agreed_at", "disagreed_at")
    ),
    **dict.fromkeys(
        ("correction_before_open", "correction_around_open"), LOOK | same("received_at", "drift", "disagreed_at")
    ),
    **dict.fromkeys(("sweep_before", "sweep_around"), SWEEP | same("received_at", "node", "earliest", "latest")),
    **dict.fromkeys(("sweep_before_open", "sweep_around_open"), SWEEP | same("received_at", "node", "latest")),
    "late_offline": ITEM | same("raw", "received_at"),
}

_LIMITS: Mapping[str, Fields] = {
    "doubtful_suspect": ITEM | same("suspect"),
    "likely_before_record": must(kind="PresenceImported"),
    "likely_look": LOOK | same("looks"),
    "likely_sweep": SWEEP,
    "source_was_dark": must(kind="SourceDark") | same("source"),
    "source_was_dark_open": must(kind="SourceDark") | same("source"),
    "node_was_down": must(kind=("NodeDown", "NodeBooted")) | same("node", "source"),
    "node_was_down_open": must(kind=("NodeDown", "NodeBooted")) | same("node", "source"),
    "breaker_was_open": must(kind="BreakerOpened") | same("looked", "missing") | {"opened_at": Field("at")},
    "never_reported_offline": {},
    "time_is_latest": ITEM | same("received_at"),
    "ignored_late": ITEM | same("raw", "received_at", "rule") | must(verdict="late"),
    "ignored_stale": ITEM | same("raw", "received_at", "rule") | must(verdict="stale"),
}

_WORDS: Mapping[str, Fields] = {
    "shown_override": WORD | same("status", "by", "reason") | {"since": Field("received_at")},
    "shown_override_before_record": must(kind="PresenceImported"),
    "likely_override": {},
    "doubtful_override": {},
    "cause_override": WORD | same("received_at", "expires_at") | must(until_evidence=False),
    "cause_override_until_evidence": WORD | same("received_at", "expires_at") | must(until_evidence=True),
    "evidence_beneath": {"status": Field("status_after")},
    "rule_override": {},
    "next_override": WORD | same("status"),
    "override_expired": WORD_ENDED | must(why="expired"),
    "override_evidence": WORD_ENDED | must(why="evidence"),
    "override_deleted": WORD_ENDED | same("by") | must(why="deleted"),
    "override_replaced": WORD_ENDED | same("by") | must(why="replaced"),
    "override_holds": same("expires_at"),
}

FIELDS: Mapping[str, Fields] = {**_HEADLINES, **_CAUSES, **_RULES, **_EVIDENCE, **_LATER, **_LIMITS, **_WORDS}
