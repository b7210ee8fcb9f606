"""The console without a service: what the API answers is given, and pages are asked for over ASGI."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2

from ledger.console.answers import COOKIE
from ledger.console.app import Console
from ledger.console.service import ServiceAnswer
from ledger.console.sessions import ConsoleSession
from ledger.domain.instants import from_datetime, parse_timestamp
from ledger.http import examples
from ledger.http.auth import KnownKey
from ledger.store.api_keys import key_hash

NOW = from_datetime(parse_timestamp("2026-11-30T09:00:00Z"))
SCOPES = {
    "auditor": frozenset({"read", "audit"}),
    "admin": frozenset({"read", "watch", "audit", "admin"}),
    "reader": frozenset({"read"}),
}
"""Keys by their name, which is the key, too, and the session's id."""


class Keys:
    """The keys in force."""

    async def find(self, key: str) -> KnownKey | None:
        return KnownKey(key, SCOPES[key]) if key in SCOPES else None


class GivenSessions:
    """Whoever sends the name of a key is logged in with it."""

    keys = Keys()

    def __init__(self) -> None:
        self.ended: list[str] = []

    async def begin(self, hashed: bytes, name: str) -> str:
        assert hashed == key_hash(name)
        return name

    async def find(self, given: str) -> ConsoleSession | None:
        return ConsoleSession(given, key_hash(given), KnownKey(given, SCOPES[given])) if given in SCOPES else None

    async def end(self, session: ConsoleSession) -> None:
        self.ended.append(session.id)


class GivenService:
    """Answers as it is told to, by method and path, and keeps what it was asked."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, object], object]] = []

    async def ask(
        self,
        key: bytes,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        max_age: int | None = None,
    ) -> ServiceAnswer:
        self.asked.append((f"{method} {path}", dict(query or {}), body))
        found = self.answers.get(f"{method} {path}", ServiceAnswer(404, {"detail": "Not Found"}))
        return found if isinstance(found, ServiceAnswer) else ServiceAnswer(200, found)

    def authorization(self, key: bytes) -> str:
        return "Console signed"


class Pages:
    """A console, asked as a browser asks."""

    def __init__(self, answers: Mapping[str, Any], stream: Any = None) -> None:
        self.service = GivenService(answers)
        self.sessions = GivenSessions()
        self.console = Console(self.sessions, self.service, stream, None, lambda: NOW)  # type: ignore[arg-type]

    def ask(self, method: str, path: str, *, who: str | None = "admin", **asked: Any) -> httpx2.Response:
        """One request, of somebody who is logged in or of nobody."""
        headers = dict(asked.pop("headers", {}))
        if who is not None:
            headers["Cookie"] = f"{COOKIE}={who}"

        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=self.console)
            async with httpx2.AsyncClient(transport=transport, base_url="http://console") as client:
                return await client.request(method, path, headers=headers, **asked)

        return asyncio.run(send())

    def get(self, path: str, **asked: Any) -> httpx2.Response:
        return self.ask("GET", path, **asked)

    def csrf(self, who: str = "admin") -> str:
        """What a form of somebody's page brings along."""
        return ConsoleSession(who, b"", KnownKey(who, frozenset())).csrf


def presence(uid: str, **changed: Any) -> dict[str, Any]:
    """A presence as the API has it."""
    example: dict[str, Any] = examples.ANSWERS["GET /v1/users/{uid}/presence"]["200"]
    return {**example, "uid": uid, **changed}
