"""Addresses within the console: of users with any name, of a page with another query, and where a login may lead."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

LOGIN = "/login"
MAX_NEXT_CHARACTERS = 16_384
_STEPS = frozenset({".", ".."})
"""A browser takes these for steps of a path, encoded or not."""


def path(*segments: object) -> str:
    """`/users/a%2Fb` of "users" and "a/b"."""
    return "/" + "/".join(quote(str(segment), safe="") for segment in segments)


def user_base(uid: str) -> tuple[str, dict[str, str]]:
    """The page of a user: its path, and what its query must have besides."""
    return ("/users/", {"uid": uid}) if uid in _STEPS else (path("users", uid), {})


def user(uid: str, **query: object) -> str:
    """The page of a user."""
    base, always = user_base(uid)
    return with_query(base, {**always, **query})


def with_query(address: str, query: Mapping[str, object]) -> str:
    """The address with that query, without what is None or empty."""
    given = [(name, str(value)) for name, value in query.items() if value is not None and value != ""]
    return f"{address}?{urlencode(given)}" if given else address


def safe_next(wanted: str | None) -> str:
    """Where to go after a login: a page of ours, else the first one."""
    if not wanted or len(wanted) > MAX_NEXT_CHARACTERS or not wanted.startswith("/"):
        return "/"
    if wanted[1:2] in ("/", "\\") or any(mark <= " " or mark in "\\\x7f" for mark in wanted):
        # "//elsewhere", and what browsers make of "/\elsewhere", are other hosts.
        return "/"
    parts = urlsplit(wanted)
    if parts.scheme or parts.netloc or parts.path in (LOGIN, "/logout"):
        return "/"
    return wanted
