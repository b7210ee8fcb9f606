"""One request of somebody who is logged in: what they ask for, and the service to ask on their behalf."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ledger.console.service import ServiceAnswer, ServiceApi
from ledger.console.sessions import ConsoleSession
from ledger.console.words import Words
from ledger.domain.observation import Instant

NEEDED = "audit"
"""The scope that the pages need; what changes something needs more."""
ACTING = "admin"


class PageRefused(Exception):
    """A page that cannot be shown, or a change that is not made; `key` of the words says why."""

    def __init__(self, status: int, key: str, **facts: object) -> None:
        super().__init__(key)
        self.status = status
        self.key = key
        self.facts = facts


@dataclass(frozen=True)
class PageRequest:
    """A request. `form` is what a change brings along, and empty otherwise."""

    session: ConsoleSession
    words: Words
    service: ServiceApi
    now: Instant
    segments: tuple[str, ...]
    """Of the path, decoded."""
    address: str
    """Path and query, as they were asked for."""
    query: Mapping[str, str]
    form: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, path: str, **query: object) -> ServiceAnswer:
        """What the service answers to a question; a trailing `_` of a name is left out, for those that Python has."""
        return await self.service.ask(self.session.key_hash, "GET", path, _named(query))

    async def ask_within(self, seconds: int, path: str) -> ServiceAnswer:
        """The same, where an answer of so many seconds ago will do."""
        return await self.service.ask(self.session.key_hash, "GET", path, max_age=seconds)

    async def order(self, method: str, path: str, body: object = None) -> ServiceAnswer:
        """The same of a change. Raises Refused where the session may make none."""
        if not self.session.may(ACTING):
            raise PageRefused(403, "refused.scope", scope=ACTING)
        return await self.service.ask(self.session.key_hash, method, path, body=body)


def _named(query: Mapping[str, object]) -> dict[str, object]:
    return {name.rstrip("_"): value for name, value in query.items()}


@dataclass(frozen=True)
class Page:
    """What is to be shown: a template and what it is given."""

    template: str
    title: Any
    facts: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True)
class Redirect:
    """A change was made: the page that shows what has become of it."""

    address: str
