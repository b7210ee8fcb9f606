"""Text made fit to be shown: what may come from anywhere, and numbers of things."""


def printable(text: str) -> str:
    """Returns the text with control and formatting characters escaped: a uid may hold any."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)


def cut(text: str, longest: int) -> str:
    """Returns the text, or its begin and a mark that there was more."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Returns `1 event`, `2,000 events`; `many` where it is not the word with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
