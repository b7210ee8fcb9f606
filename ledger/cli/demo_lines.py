"""What the demo says of each event: one line, with what is remarkable about it spelled out."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from ledger.client import Presence
from ledger.text import printable, shortened

Json = dict[str, Any]

UID_WIDTH = 24
"""So many columns are a uid's where it needs no more, and on a terminal, where lines must not break, at most."""


class Story:
    """Turns events of the ledger into lines, and counts them; `write` takes a line.

    A uid of more than `longest` characters is cut, where that is given.
    """

    def __init__(self, write: Callable[[str], object], longest: int | None = None) -> None:
        self._write = write
        self._longest = longest
        self._verdicts: Counter[str] = Counter()
        self._deliveries = 0
        self._repeated = 0
        self._rejected = 0
        self._told = 0
        self.forwarded: Callable[[], int] = lambda: 0
        """How many webhooks the business server has got."""
        self.shown_online = 0
        self.really_online = 0

    def tell(self, event: Json) -> None:
        """Write an event's line and count it."""
        clock = event["recorded_at"][11:23]
        match event["kind"]:
            case "webhook_observed":
                self._verdicts[event["verdict"]] += 1
                self._write(f"{clock}  {self._observed(event)}")
            case "delivery_received":
                self._deliveries += 1
                if event["repeats"] is not None:
                    self._repeated += 1
                    self._write(f"{clock}  {_repeated(event)}")
            case "item_rejected" | "body_rejected":
                self._rejected += 1 + len(event.get("following", ()))
                self._write(f"{clock}  ** rejected, kept raw: {printable(event['reason'])}")
            case kind if event.get("uid") is not None:
                self._verdicts[event.get("verdict") or kind] += 1
                self._write(f"{clock}  {self._of_user(event)}")
            case _:
                self._write(f"{clock}  -- {_of_source(event)}")

    def tell_change(self, presence: Presence) -> None:
        """Write the line of a change that the stream told, and count it."""
        self._told += 1
        before = presence.previous.status if presence.previous is not None else "unknown"
        uid = self._uid(presence.uid)
        change = f"{before} -> {presence.status}" if before != presence.status else f"{presence.status}, its devices"
        self._write(f"{presence.as_of.at:%H:%M:%S.%f}"[:12] + f"  {uid:<{UID_WIDTH}}  >> told by the stream: {change}")

    def counts(self) -> dict[str, int]:
        """What was counted, by its name."""
        return {
            "deliveries": self._deliveries,
            "repeated": self._repeated,
            "events": self._verdicts.total(),
            "duplicates": self._verdicts["duplicate"],
            "corrected": self._verdicts["corrected"],
            "late or stale": self._verdicts["late"] + self._verdicts["stale"],
            "rejected": self._rejected,
            "told": self._told,
            "forwarded": self.forwarded(),
        }

    def summary(self) -> str:
        """The end of a demo, in two lines."""
        counted = ", ".join(f"{number} {name}" for name, number in self.counts().items())
        return f"{counted};\nonline as shown: {self.shown_online}, really: {self.really_online}"

    def _observed(self, event: Json) -> str:
        notes = [event["rule"]]
        if event["swept"]:
            notes.append(f"{len(event['swept'])} more swept")
        if event["implied"] or event["implied_elsewhere"]:
            notes.append("its count proves a lost webhook")
        return self._line(event, notes)

    def _of_user(self, event: Json) -> str:
        """An event of a user that no webhook told, of whatever kind: a correction, a sweep, a tier."""
        return self._line(event, [event.get("rule") or event["kind"].replace("_", " ")])

    def _line(self, event: Json, notes: list[str]) -> str:
        before, after = event.get("status_before"), event.get("status_after")
        change = f"{before} -> {after}" if before != after else after or ""
        device = f"device {event['device_flag']}" if event.get("device_flag") is not None else ""
        verdict = event.get("verdict") or event["kind"].replace("_", " ")
        uid = self._uid(event["uid"])
        return f"{uid:<{UID_WIDTH}}  {device:<10} {verdict:<9}  {change:<18}  {', '.join(notes)}"

    def _uid(self, uid: str) -> str:
        shown = printable(uid)
        return shown if self._longest is None else shortened(shown, self._longest)


def _of_source(event: Json) -> str:
    """An event of a source: what happened, at which node, and what else it says of itself."""
    what = event["kind"].replace("_", " ") + (f" of {printable(event['node'])}" if event.get("node") else "")
    return ", ".join([what, *(printable(str(event[name])) for name in ("run", "cause", "reason") if event.get(name))])


def _repeated(event: Json) -> str:
    items = "item" if event["items"] == 1 else f"{event['items']} items"
    return f"** delivery {event['delivery'][-6:]} repeats {event['repeats'][-6:]}: the same {items} again"
