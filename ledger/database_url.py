"""Reads the URL of a database as libpq does, tells what is wrong with it without showing it, and masks it.

libpq's reading and that of web addresses differ just where passwords are: `u:12#34@host` has a password for the one and
a fragment for the other. What connects is libpq, so what is shown is what libpq read.
"""

from itertools import zip_longest
from typing import Self
from urllib.parse import quote

MASK = "********"

SCHEMES = ("postgresql://", "postgres://")

_KEYS = frozenset({"scram_client_key", "scram_server_key"})
"""Secrets that libpq does not mark as such."""

_IN_THE_ADDRESS = frozenset({"user", "password", "host", "port", "dbname"})

ESCAPES = "in a name or password, write @ as %40, / as %2F, : as %3A and % as %25"


_FIRST_SETTING = "database_url"


class SettingUrl(str):
    """A URL that knows the setting it is of, by which people are told what is wrong with it.

    It is a `str` wherever one is taken, but for msgspec, which encodes `str(url)`.
    """

    __slots__ = ("setting",)
    setting: str

    def __new__(cls, url: str, setting: str = _FIRST_SETTING) -> Self:
        named = super().__new__(cls, url)
        named.setting = setting
        return named


def setting_of(url: str) -> str:
    """The name of the setting that a URL is of; of one that does not say so, `database_url`."""
    return url.setting if isinstance(url, SettingUrl) else _FIRST_SETTING


class UrlUnreadable(ValueError):
    """A text is not the URL of a database; the message says why, without quoting the text."""


def read(url: str) -> dict[str, str]:
    """The parameters of a URL by libpq's names. Raises UrlUnreadable."""
    return {name: value for name, (value, _) in _read(url).items()}


def masked(url: str) -> str:
    """The URL with its secrets masked, wherever it has them; of one that cannot be read nothing is shown."""
    if not url:
        return ""
    try:
        found = {name: MASK if secret else value for name, (value, secret) in _read(url).items()}
    except UrlUnreadable:
        return MASK
    user = quote(found.get("user", ""), safe="") + (f":{found['password']}" if "password" in found else "")
    hosts, more = _hosts(found), {name: value for name, value in found.items() if name not in _IN_THE_ADDRESS}
    if hosts is None:
        more = {name: found[name] for name in ("host", "port") if name in found} | more
    query = "&".join(f"{name}={value if value == MASK else quote(value, safe='/:,')}" for name, value in more.items())
    path = f"/{quote(found['dbname'], safe='')}" if "dbname" in found else "/" if hosts is None else ""
    return f"{SCHEMES[0]}{user}{'@' if user else ''}{hosts or ''}{path}{'?' if query else ''}{query}"


def _read(url: str) -> dict[str, tuple[str, bool]]:
    if not url.startswith(SCHEMES):
        raise UrlUnreadable(
            "must be empty (the embedded database) or a URL like postgresql://user:password@host/database"
        )
    import psycopg  # noqa: PLC0415  (the embedded database needs none to be read)

    try:
        options = psycopg.pq.Conninfo.parse(url.encode())
    except (psycopg.Error, UnicodeError):
        # What it says may show the password.
        raise UrlUnreadable(f"is not a URL that PostgreSQL's library can read; {ESCAPES}") from None
    found = {
        each.keyword.decode(): (each.val.decode(errors="replace"), _is_secret(each.keyword.decode(), each.dispchar))
        for each in options
        if each.val is not None
    }
    _refuse_leaks({name: value for name, (value, _) in found.items()})
    return found


def _is_secret(name: str, shown_as: bytes) -> bool:
    return shown_as == b"*" or name in _KEYS


def _refuse_leaks(found: dict[str, str]) -> None:
    """Where a character in a password cuts it short, the rest of it is read as a host, a port or a database."""
    if any("@" in found.get(name, "") for name in ("host", "hostaddr", "port", "dbname")) or "?" in found.get(
        "user", ""
    ):
        raise UrlUnreadable(f"has an @ in the wrong place; {ESCAPES}")
    for port in found.get("port", "").split(","):
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise UrlUnreadable(f"has a port that is not a number from 1 to 65535; {ESCAPES}")
    hosts, ports = found.get("host", "").split(","), found.get("port", "").split(",")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise UrlUnreadable("must have as many ports as hosts; give each host its port, as in h1:5432,h2:5433")


def _hosts(found: dict[str, str]) -> str | None:
    """Hosts with their ports as a URL has them; None where they can stand in its query alone."""
    if "host" not in found or "/" in found["host"]:
        return None if "host" in found or "port" in found else ""
    hosts, ports = found["host"].split(","), found.get("port", "").split(",")
    fill = ports[0] if len(ports) == 1 else ""
    return ",".join(
        (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
        for host, port in zip_longest(hosts, ports, fillvalue=fill)
    )
