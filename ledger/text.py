"""Text made fit to be shown: what may come from anywhere, and numbers of things."""

import json
import re

_ESCAPED = re.compile(r"[^\x20-\x7e\n]")

SHORT = 80


def printable(text: str) -> str:
    """Returns the text with control and formatting characters escaped: a uid may hold any."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def visible(text: str) -> str:
    """Returns the same of a text of several lines, whose breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def visible_json(text: str) -> str:
    """Returns JSON with such characters escaped as JSON does it, so that it means the same."""
    return _ESCAPED.sub(_escape, text)


def shortened(text: str, most: int = SHORT) -> str:
    """Returns the text, or its beginning where it is longer: what somebody else wrote is not repeated at length."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Returns `1 event`, `2,000 events`; `many` where it is not the word with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _escape(match: re.Match[str]) -> str:
    mark = match.group()
    return mark if mark.isprintable() else json.dumps(mark)[1:-1] if mark != "\x7f" else "\\u007f"
