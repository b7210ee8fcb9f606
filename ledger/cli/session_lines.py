"""A user's sessions in lines: where each began and ended, how sure that is, and how long it lasted, in words."""

from ledger.cli.client import Json
from ledger.cli.output import duration
from ledger.cli.story_lines import Row, device
from ledger.cli.times import shown
from ledger.cli.words import told, word


def session_row(session: Json) -> Row:
    """Device, connId, which node reported it, begin and end with their reasons, duration, how many others, flaps."""
    began, ended = session["began"], session["ended"]
    where = f"{session['source']}/{device(session['device_flag'])}"
    told_by = session["held_by"] or session["told_by"]
    seen = told("open, seen {at}", at=shown(session["seen_at"], began["at"]))
    over: tuple[object, ...] = (seen, None, None)
    if ended is not None:
        over = (_edge(ended, began["at"]), word(ended["rule"]), _lasted(session))
    others = session["concurrent"] - 1
    return (
        where,
        session["conn_id"],
        told_by,
        _edge(began),
        word(began["rule"]),
        *over,
        others or None,
        session["flaps"] or None,
    )


def _edge(edge: Json, previous: str | None = None) -> str:
    at, after = edge["at"], edge["after"]
    match edge["sure"]:
        case "exact":
            return shown(at, previous)
        case "unknown":
            return told("by {at}, perhaps", at=shown(at, previous))
        case _ if after is None or after == at:
            return told("by {at}", at=shown(at, previous))
        case _:
            return f"{shown(after, previous)} .. {shown(at, after)}"


def _lasted(session: Json) -> str:
    seconds = max(0.0, session["duration_seconds"])
    said = duration(seconds) if seconds >= 10 else f"{seconds:.1f} s"
    if session["began"]["sure"] != "exact":
        return told("about {length}", length=said)
    return said if session["ended"]["sure"] == "exact" else told("at most {length}", length=said)
