"""A user's story in lines: what an entry of their timeline says, in words."""

from collections.abc import Callable, Mapping, Sequence

from ledger.cli.client import Json
from ledger.cli.doubts import ENDED
from ledger.cli.times import shown
from ledger.cli.words import joined, name_of, number_of, told, word
from ledger.domain.device_names import DEVICE_NAMES

Row = Sequence[object]


def entry_row(entry: Json) -> Row:
    """Position, instant, status, what happened, by what evidence."""
    say = _ENTRIES.get(entry["kind"], _other)
    what, evidence = say(entry)
    return entry["position"], shown(entry["at"]), _status(entry), what, evidence


def _status(entry: Json) -> str | None:
    before, after = entry.get("status_before"), entry.get("status_after")
    if before == after:
        return after and word(after)
    return f"{before and word(before)} -> {after and word(after)}"


def _change(entry: Json) -> tuple[str, str]:
    named = f"{device(entry['device_flag'])} {entry['conn_id']}"
    verdict = entry["verdict"]
    if verdict in ("opened", "closed"):
        done = told("{sessions} opened" if verdict == "opened" else "{sessions} closed", sessions=named)
        said = [done + (told(", known before without its connId") if entry.get("named") else "")]
    else:
        said = [told("{verdict} item of {named}, whose counts are used", verdict=word(verdict), named=named)]
    said += _effects(entry)
    said += _resumed(entry)
    if entry.get("repeated"):
        said.append(told("its delivery repeats an earlier one"))
    if entry.get("suspect"):
        said.append(told("looked at out of turn: {why}", why=word(entry["suspect"])))
    return joined(said), f"{_place(entry)} {entry['raw']}"


def _resumed(entry: Json) -> list[str]:
    if not entry.get("resumes"):
        return []
    since = shown(entry["resumes"], entry["at"])
    return [told("shown as online since {since}: back within the grace period", since=since)]


def _effects(entry: Json) -> list[str]:
    said = []
    if swept := entry.get("swept"):
        said.append(told("a count of zero ended {sessions}", sessions=_sessions(swept)))
    if implied := entry.get("implied", 0) + entry.get("implied_elsewhere", 0):
        said.append(told("its counts prove {number} more", number=implied))
    if beyond := entry.get("unbelieved"):
        said.append(told("{number} beyond that are not believed", number=f"{beyond:,}"))
    if withdrawn := entry.get("withdrawn", 0) + entry.get("withdrawn_elsewhere", 0):
        said.append(told("its counts have no room for {number} that a count had proved", number=withdrawn))
    return said


DONE = {"opened": "{sessions} opened", "closed": "{sessions} closed", "located": "{sessions} located"}


def _correction(entry: Json) -> tuple[str, str]:
    evidence = told("{place} poll {poll}, run {run}", place=_place(entry), poll=entry["poll"], run=entry["run"])
    changes = [told(text, sessions=_sessions(entry[done])) for done, text in DONE.items() if entry.get(done)]
    done = joined(changes, ", ") or told("no session")
    if entry["drift"] is None:
        return told("a poll told more: {done}", done=done), evidence
    looks = number_of(entry["looks"], "look")
    corrected = told("{drift} corrected after {looks}: {done}", drift=word(entry["drift"]), looks=looks, done=done)
    return joined([corrected, *_resumed(entry)]), evidence


def _drift(entry: Json) -> tuple[str, str]:
    over = told("goes on")
    if entry["until"] is not None:
        over = told("until {until}", until=shown(entry["until"], entry["at"]))
    state, drift = word(entry["state"]), word(entry["drift"])
    said = told(
        "drift {drift}, began {began}, {over}: {state}", drift=drift, began=_began(entry), over=over, state=state
    )
    return said + _because(entry), told("{place} run {run}", place=_place(entry), run=entry["run"])


def _began(entry: Json) -> str:
    """The bounds of a drift."""
    agreed, disagreed = entry["agreed_at"], entry["disagreed_at"]
    if not disagreed:
        before = told("at an unknown time")
        return f"{told('after {at}', at=shown(agreed, entry['at']))}, {before}" if agreed else before
    return between(agreed, disagreed, entry["at"])


def between(after: str | None, before: str, previous: str | None) -> str:
    """The bounds of a change in words, both without their day where it is that of the instant shown before."""
    ended = shown(before, previous)
    if after:
        return told("after {after} and before {before}", after=shown(after, previous), before=ended)
    return told("before {before}", before=ended)


def _because(entry: Json) -> str:
    cause = entry["attributed_to"]
    return told(", because of: {cause}", cause=word(cause)) if cause else ""


def _sweep(entry: Json) -> tuple[str, str]:
    ended, node = _sessions(entry["ended"]), entry["node"]
    evidence = told("position {position}, run {run}", position=entry["evidence"], run=entry["run"])
    if entry["rule"] != "restart":
        return told("{node} was retired: {sessions} ended", node=node, sessions=ended), evidence
    when = between(entry["earliest"], entry["latest"] or entry["at"], entry["at"])
    return told("{node} booted: {sessions} ended {when}", node=node, sessions=ended, when=when), evidence


def _tier(entry: Json) -> tuple[str, str]:
    said = told("tier {tier}", tier=entry["tier"]) if entry["tier"] else told("tier as the rules say")
    return said, told("set by {by}", by=entry["by"])


def _override(entry: Json) -> tuple[str, str]:
    said = told(
        "shown {status} by an operator's word until {until} or newer evidence: {reason}"
        if entry["until_evidence"]
        else "shown {status} by an operator's word until {until}: {reason}",
        status=name_of(entry["status"]), until=shown(entry["expires_at"], entry["at"]), reason=entry["reason"],
    )  # fmt: skip
    return said, told("set by {by}", by=entry["by"])


def _override_ended(entry: Json) -> tuple[str, str | None]:
    status, why = name_of(entry["status"]), _word_ended(entry["why"])
    said = told("an operator's word, {status}, ended: {why}", status=status, why=why)
    return said, None if entry["by"] is None else told("by {by}", by=entry["by"])


def _word_ended(why: str) -> str:
    match why:
        case "expired":
            return told("its time was over")
        case "evidence":
            return told("newer evidence came")
        case "deleted":
            return told("somebody ended it")
        case _:
            return told("another one was said")


def _beginning(entry: Json) -> tuple[str, str]:
    held = told("{sessions} open", sessions=_sessions(entry["sessions"])) if entry["sessions"] else told("nothing open")
    said = told("the record begins here, with {sessions}", sessions=held)
    return said, told("imported at version {version}", version=entry["version"])


_REPEATS = {
    "duplicate": "{number} duplicates in {deliveries}",
    "late": "{number} late in {deliveries}",
    "stale": "{number} stale in {deliveries}",
}


def _repeats(entry: Json) -> tuple[str, str]:
    number, deliveries = entry["number"], entry["deliveries"]
    posted = number_of(deliveries, "delivery", "deliveries")
    said = told(_REPEATS[entry["kind"]], number=number, deliveries=posted)
    if (entry["kind"], number) == ("duplicate", 1):
        said = told("{number} duplicate in {deliveries}", number=number, deliveries=posted)
    said += _sent_before(entry["repeated_deliveries"], deliveries)
    if number > 1:
        said += told(", until {until}", until=shown(entry["until"], entry["at"]))
    rules = joined([word(rule) + (f" x{n}" if n > 1 else "") for rule, n in entry["rules"].items()], ", ")
    raws = dict.fromkeys((entry["first_raw"], entry["last_raw"]))
    what = told("{said}: {rules}; nothing changed", said=said, rules=rules)
    return what, f"{entry['source']}/{','.join(entry['nodes'])} {' .. '.join(raws)}"


def _sent_before(again: int, deliveries: int) -> str:
    if not again:
        return ""
    if again < deliveries:
        return told(", {number} sent before", number=again)
    return told(", all sent before") if again > 1 else told(", which was sent before")


def _doubt(entry: Json) -> tuple[str, str | None]:
    dark = entry["node"] is None
    what = (
        told("{source} was silent", source=entry["source"]) if dark else told("{place} was down", place=_place(entry))
    )
    over = told("and still is")
    if entry["until"] is not None:
        until = shown(entry["until"], entry["at"])
        over = told("until {until} ({because})", until=until, because=told(_ENDED_BY[entry["ended_by"]]))
    return told("in doubt: {what} {over}", what=what, over=over), None if dark else entry["reason"]


def _doubt_ended(entry: Json) -> tuple[str, None]:
    what = entry["source"] if entry["node"] is None else _place(entry)
    because = told(_ENDED_BY[entry["ended_by"]])
    return told("no longer in doubt: {what}, for {because}", what=what, because=because), None


_ENDED_BY = {
    "webhook": "a webhook came",
    "poll": "a query was answered",
    "answers": "it answers as before",
    "swept": "what it had held has been ended",
    "retired": "it was retired",
}


def _other(entry: Json) -> tuple[str, None]:
    return word(entry["kind"]), None


def _sessions(sessions: Sequence[Json]) -> str:
    """`app 17, web`, each with its connId where that is known."""
    names = []
    for session in sessions:
        name = device(session["device_flag"])
        name += "" if session["conn_id"] is None else f" {session['conn_id']}"
        if session.get("held_by"):
            name = told("{session} at {node}", session=name, node=session["held_by"])
        names.append(name)
    return joined(names, ", ")


def device(flag: int | None) -> str:
    """A device flag by its name."""
    return DEVICE_NAMES.get(flag) or told("device {flag}", flag=flag)


def _place(entry: Json) -> str:
    return f"{entry['source']}/{entry['node']}"


_ENTRIES: Mapping[str, Callable[[Json], tuple[str, str | None]]] = {
    "transition": _change,
    "sessions": _change,
    "correction": _correction,
    "sweep": _sweep,
    "tier": _tier,
    "override": _override,
    "override_ended": _override_ended,
    "imported": _beginning,
    "duplicate": _repeats,
    "late": _repeats,
    "stale": _repeats,
    "drift": _drift,
    "source_dark": _doubt,
    "node_down": _doubt,
    f"source_dark{ENDED}": _doubt_ended,
    f"node_down{ENDED}": _doubt_ended,
}
