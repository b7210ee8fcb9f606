"""A user's story in lines: what an entry of their timeline says, and how long a session lasted, in words."""

from collections.abc import Callable, Mapping, Sequence

from ledger.cli.client import Json
from ledger.cli.doubts import ENDED
from ledger.cli.output import duration
from ledger.text import counted
from projections.models.shown import DEVICE_NAMES

Row = Sequence[object]


def entry_row(entry: Json) -> Row:
    """Position, instant, status, what happened, by what evidence."""
    say = _ENTRIES.get(entry["kind"], _other)
    what, evidence = say(entry)
    return entry["position"], moment(entry["at"]), _status(entry), what, evidence


def session_row(session: Json) -> Row:
    """Device, connId, which node reported it, begin and end with their reasons, duration, how many others, flaps."""
    began, ended = session["began"], session["ended"]
    device = f"{session['source']}/{_device(session['device_flag'])}"
    told_by = session["held_by"] or session["told_by"]
    over: tuple[object, ...] = ("open", f"seen {moment(session['seen_at'], began['at'])}", None)
    if ended is not None:
        over = (_edge(ended, began["at"]), _words(ended["rule"]), _lasted(session))
    others = session["concurrent"] - 1
    return (
        device,
        session["conn_id"],
        told_by,
        _edge(began),
        _words(began["rule"]),
        *over,
        others or None,
        session["flaps"] or None,
    )


def moment(at: str, previous: str = "") -> str:
    """An instant to the millisecond, without its day where that is the day of the instant shown before it."""
    day, time = at[:10], at[11:23]
    return time if previous[:10] == day else f"{day} {time}"


def _edge(edge: Json, previous: str = "") -> str:
    at, after = edge["at"], edge["after"]
    match edge["sure"]:
        case "exact":
            return moment(at, previous)
        case "unknown":
            return f"by {moment(at, previous)}, perhaps"
        case _ if after is None or after == at:
            return f"by {moment(at, previous)}"
        case _:
            return f"{moment(after, previous)} .. {moment(at, after)}"


def _lasted(session: Json) -> str:
    seconds = max(0.0, session["duration_seconds"])
    said = duration(seconds) if seconds >= 10 else f"{seconds:.1f} s"
    if session["began"]["sure"] != "exact":
        return f"about {said}"
    return said if session["ended"]["sure"] == "exact" else f"at most {said}"


def _status(entry: Json) -> str | None:
    before, after = entry.get("status_before"), entry.get("status_after")
    return after if before == after else f"{before} -> {after}"


def _change(entry: Json) -> tuple[str, str]:
    named = f"{_device(entry['device_flag'])} {entry['conn_id']}"
    verdict = entry["verdict"]
    if verdict in ("opened", "closed"):
        said = [f"{named} {verdict}" + (", known before without its connId" if entry.get("named") else "")]
    else:
        said = [f"{verdict} item of {named}, whose counts are used"]
    said += _effects(entry)
    said += _resumed(entry)
    if entry.get("repeated"):
        said.append("its delivery repeats an earlier one")
    if entry.get("suspect"):
        said.append(f"looked at out of turn: {_words(entry['suspect'])}")
    return "; ".join(said), f"{_place(entry)} {entry['raw']}"


def _resumed(entry: Json) -> list[str]:
    if not entry.get("resumes"):
        return []
    return [f"shown as online since {moment(entry['resumes'], entry['at'])}: back within the grace period"]


def _effects(entry: Json) -> list[str]:
    said = []
    if swept := entry.get("swept"):
        said.append(f"a count of zero ended {_sessions(swept)}")
    if implied := entry.get("implied", 0) + entry.get("implied_elsewhere", 0):
        said.append(f"its counts prove {implied} more")
    if beyond := entry.get("unbelieved"):
        said.append(f"{beyond:,} beyond that are not believed")
    if withdrawn := entry.get("withdrawn", 0) + entry.get("withdrawn_elsewhere", 0):
        said.append(f"its counts have no room for {withdrawn} that a count had proved")
    return said


def _correction(entry: Json) -> tuple[str, str]:
    evidence = f"{_place(entry)} poll {entry['poll']}, run {entry['run']}"
    changes = [f"{_sessions(entry[done])} {done}" for done in ("opened", "closed", "located") if entry.get(done)]
    done = ", ".join(changes) or "no session"
    if entry["drift"] is None:
        return f"a poll told more: {done}", evidence
    said = [f"{entry['drift']} corrected after {counted(entry['looks'], 'look')}: {done}", *_resumed(entry)]
    return "; ".join(said), evidence


def _drift(entry: Json) -> tuple[str, str]:
    over = "goes on" if entry["until"] is None else f"until {moment(entry['until'], entry['at'])}"
    said = f"drift {entry['drift']}, began {_began(entry)}, {over}: {_words(entry['state'])}{_because(entry)}"
    return said, f"{_place(entry)} run {entry['run']}"


def _began(entry: Json) -> str:
    """The bounds of a drift."""
    agreed, disagreed = entry["agreed_at"], entry["disagreed_at"]
    before = f"before {moment(disagreed, entry['at'])}" if disagreed else "at an unknown time"
    return f"after {moment(agreed, entry['at'])} and {before}" if agreed else before


def _because(entry: Json) -> str:
    cause = entry["attributed_to"]
    return f", because of: {_words(cause)}" if cause else ""


def _sweep(entry: Json) -> tuple[str, str]:
    ended = _sessions(entry["ended"])
    if entry["rule"] != "restart":
        return f"{entry['node']} was retired: {ended} ended", f"position {entry['evidence']}, run {entry['run']}"
    after, before = entry["earliest"], entry["latest"]
    bounds = f"after {moment(after, entry['at'])} and " if after else ""
    bounds += f"before {moment(before or entry['at'], entry['at'])}"
    return f"{entry['node']} booted: {ended} ended {bounds}", f"position {entry['evidence']}, run {entry['run']}"


def _tier(entry: Json) -> tuple[str, str]:
    return f"tier {entry['tier'] or 'as the rules say'}", f"set by {entry['by']}"


def _override(entry: Json) -> tuple[str, str]:
    give_way = " or newer evidence" if entry["until_evidence"] else ""
    until = f"until {moment(entry['expires_at'], entry['at'])}{give_way}"
    return f"shown {entry['status']} by an operator's word {until}: {entry['reason']}", f"set by {entry['by']}"


def _override_ended(entry: Json) -> tuple[str, str | None]:
    said = f"an operator's word, {entry['status']}, ended: {_WORD_ENDED[entry['why']]}"
    return said, None if entry["by"] is None else f"by {entry['by']}"


_WORD_ENDED = {
    "expired": "its time was over",
    "evidence": "newer evidence came",
    "deleted": "somebody ended it",
    "replaced": "another one was said",
}


def _beginning(entry: Json) -> tuple[str, str]:
    open_now = f"{_sessions(entry['sessions'])} open" if entry["sessions"] else "nothing open"
    return f"the record begins here, with {open_now}", f"imported at version {entry['version']}"


def _repeats(entry: Json) -> tuple[str, str]:
    number, deliveries = entry["number"], entry["deliveries"]
    word = entry["kind"] if entry["kind"] != "duplicate" else "duplicate" if number == 1 else "duplicates"
    said = f"{number} {word} in {counted(deliveries, 'delivery', 'deliveries')}"
    if again := entry["repeated_deliveries"]:
        said += f", {again if again < deliveries else 'all' if again > 1 else 'which was'} sent before"
    if number > 1:
        said += f", until {moment(entry['until'], entry['at'])}"
    rules = ", ".join(f"{_words(rule)}" + (f" x{n}" if n > 1 else "") for rule, n in entry["rules"].items())
    raws = dict.fromkeys((entry["first_raw"], entry["last_raw"]))
    return f"{said}: {rules}; nothing changed", f"{entry['source']}/{','.join(entry['nodes'])} {' .. '.join(raws)}"


def _doubt(entry: Json) -> tuple[str, str | None]:
    dark = entry["node"] is None
    what = f"{entry['source']} was silent" if dark else f"{_place(entry)} was down"
    until = entry["until"]
    over = "and still is" if until is None else f"until {moment(until, entry['at'])} ({_ENDED_BY[entry['ended_by']]})"
    return f"in doubt: {what} {over}", None if dark else entry["reason"]


def _doubt_ended(entry: Json) -> tuple[str, None]:
    what = entry["source"] if entry["node"] is None else _place(entry)
    return f"no longer in doubt: {what}, for {_ENDED_BY[entry['ended_by']]}", None


_ENDED_BY = {
    "webhook": "a webhook came",
    "poll": "a query was answered",
    "answers": "it answers as before",
    "swept": "what it had held has been ended",
    "retired": "it was retired",
}


def _other(entry: Json) -> tuple[str, None]:
    return _words(entry["kind"]), None


def _sessions(sessions: Sequence[Json]) -> str:
    """`app 17, web`, each with its connId where that is known."""
    names = []
    for session in sessions:
        name = _device(session["device_flag"])
        name += "" if session["conn_id"] is None else f" {session['conn_id']}"
        names.append(name + (f" at {session['held_by']}" if session.get("held_by") else ""))
    return ", ".join(names)


def _device(flag: int | None) -> str:
    return DEVICE_NAMES.get(flag) or f"device {flag}"


def _place(entry: Json) -> str:
    return f"{entry['source']}/{entry['node']}"


def _words(name: str) -> str:
    return name.replace("_", " ")


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
