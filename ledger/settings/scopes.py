"""What an API key may do: three scopes, each of which includes the one before it."""

from collections.abc import Iterable

SCOPES = ("read", "audit", "admin")
"""In ascending order: admin includes audit, audit includes read."""


def with_implied(scopes: Iterable[str]) -> frozenset[str]:
    """Returns the scopes with all that they include. Raises ValueError for one that does not exist."""
    highest = max((SCOPES.index(scope) for scope in scopes), default=-1)
    return frozenset(SCOPES[: highest + 1])
