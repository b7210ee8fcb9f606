"""Text from anywhere, made fit to be shown."""


def printable(text: str) -> str:
    """Returns the text with control and formatting characters escaped: a uid may hold any."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in text)
