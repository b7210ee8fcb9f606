"""The class of a request's route and method, for figures: few, whatever addresses people try."""

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

OTHER = "other"
HOOKS, STREAM = "hooks", "stream"
LIVE_FEED = "/live/feed"
"""The console's own way to the stream."""

_OF_USERS = frozenset({"presence", "events", "timeline", "sessions", "explain", "tier", "override", "erase", "reads"})
_OF_PRESENCE = frozenset({"query", "summary"})
_OF_API = frozenset(
    {
        *("alerts", "archive", "blind", "deliveries", "drift", "ledger", "lists", "loss", "presence", "reach", "runs"),
        *("settings", "sinks", "sources", STREAM),
    }
)
_OF_ROOT = frozenset({HOOKS, "health", "metrics", "docs", "client"})

CLASSES = (
    OTHER,
    "console",
    *sorted(_OF_ROOT),
    *sorted(_OF_API),
    *sorted(f"presence_{name}" for name in _OF_PRESENCE),
    *sorted(f"user_{name}" for name in _OF_USERS),
)
"""All there are."""


def route_class(path: str, rest: str = OTHER) -> str:
    """The class of a path, such as `hooks`, `presence_query`, `user_explain`; `rest` is that of any other."""
    first, _, others = path[1:].partition("/")
    if path == LIVE_FEED:
        return STREAM
    if first != "v1":
        return first if first in _OF_ROOT else rest
    second, _, others = others.partition("/")
    if second == "users":
        last = others.rpartition("/")[2]
        return f"user_{last}" if last in _OF_USERS else OTHER
    if second == "presence" and others in _OF_PRESENCE:
        return f"presence_{others}"
    return second if second in _OF_API else OTHER


def method_class(method: str) -> str:
    """The method; anybody can send any word as one."""
    return method if method in METHODS else OTHER
