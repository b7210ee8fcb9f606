"""How the API's description tells of what an answer refuses, by the words of that answer."""

TOLD = {
    "not a cursor of this list": "`after` is not a cursor of this list",
    "before 'from'": "`to` is before `from`",
    "more than 92 days": "more than 92 days",
    "needs 'at'": "`known_at` or `position` without `at`",
    "either 'known_at' or 'position'": "or both of them",
    "in the future": "an instant in the future",
    "before 'at'": "`known_at` before `at`",
    "beyond the head": "a `position` beyond the head",
    "valid integer": "`position` is written with a fraction",
    "not a timestamp": "a leap second, or outside of the years 1 to 9999 in UTC",
    "holds NUL or half a character": "holds NUL",
    "a uid holds neither": "or holds NUL or half a character",
    "an empty uid": "a uid is empty",
    "over 1024 bytes": "over 1,024 bytes",
    "not a valid JSON": "not JSON in UTF-8",
    "Invalid JSON": "not JSON in UTF-8",
    "name users, or a list": "neither `uids` nor `list`, or both",
    "got `float`": "`expires_seconds` is written with a fraction",
    "names nobody": "nobody in `uids`",
    "the token would be longer": "so many users that their token is too long",
    "never observed": "a user who was never observed",
    "say why": "`reason` is blank",
    "no such parameter": "an unknown parameter",
    "Extra inputs": "an unknown parameter",
}
"""Why an input that its schema allows is refused: by the answer's words, those of the description."""


def told_of(detail: str) -> str:
    """How the description tells of what an answer says."""
    found = [told for said, told in TOLD.items() if said in detail]
    assert found, detail
    return found[0]
