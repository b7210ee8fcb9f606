"""What the demo says of each event: one line, with what is remarkable about it spelled out."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from ledger.cli.output import printable

Json = dict[str, Any]

UID_WIDTH = 24


class Story:
    """Turns events of the ledger into lines, and counts them; `write` takes a line."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._verdicts: Counter[str] = Counter()
        self._deliveries = 0
        self._repeated = 0
        self._rejected = 0
        self.shown_online = 0
        self.really_online = 0

    def tell(self, event: Json) -> None:
        """Write an event's line and count it."""
        clock = event["recorded_at"][11:23]
        match event["kind"]:
            case "webhook_observed":
                self._verdicts[event["verdict"]] += 1
                self._write(f"{clock}  {_observed(event)}")
            case "delivery_received":
                self._deliveries += 1
                if event["repeats"] is not None:
                    self._repeated += 1
                    self._write(f"{clock}  {_repeated(event)}")
                if event["suspects_restart"]:
                    self._write(f"{clock}  ** connIds of node {event['node']} began anew: it may have restarted")
            case "item_rejected" | "body_rejected":
                self._rejected += 1
                self._write(f"{clock}  ** rejected, kept raw: {event['reason']}")
            case kind:
                self._write(f"{clock}  -- {kind.replace('_', ' ')}")

    def counts(self) -> dict[str, int]:
        """What was counted, by its name."""
        return {
            "deliveries": self._deliveries,
            "repeated": self._repeated,
            "events": self._verdicts.total(),
            "duplicates": self._verdicts["duplicate"],
            "late or stale": self._verdicts["late"] + self._verdicts["stale"],
            "rejected": self._rejected,
        }

    def summary(self) -> str:
        """The end of a demo, in two lines."""
        counted = ", ".join(f"{number} {name}" for name, number in self.counts().items())
        return (
            f"{counted};\nonline as shown: {self.shown_online}, really: {self.really_online} (as far as webhooks tell)"
        )


def _observed(event: Json) -> str:
    before, after = event["status_before"], event["status_after"]
    change = f"{before} -> {after}" if before != after else after
    device = f"device {event['device_flag']}"
    notes = [event["rule"]]
    if event["swept"]:
        notes.append(f"{len(event['swept'])} more swept")
    if event["implied"] or event["implied_elsewhere"]:
        notes.append("its count proves a lost webhook")
    uid = printable(event["uid"])[:UID_WIDTH]
    return f"{uid:<{UID_WIDTH}}  {device:<10} {event['verdict']:<9}  {change:<18}  {', '.join(notes)}"


def _repeated(event: Json) -> str:
    return (
        f"** delivery {event['delivery'][-6:]} repeats {event['repeats'][-6:]}: the same {event['items']} items again"
    )
