"""Asks the service beside the front on behalf of a session: the API's own routes, as the session's key would."""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
import msgspec

from ledger.http.delegation import Delegation

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 30.0
AT_ONCE = 16
"""Questions of all pages together: the service has others to answer, too."""
LIMITS = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=8, keepalive_expiry=30.0)

FIRST_ERROR = 400

_decode = msgspec.json.Decoder().decode

Query = Mapping[str, object]


class ServiceAnswer(NamedTuple):
    """What the service said: the JSON, or the problem's; status 0 where it said nothing."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        return 0 < self.status < FIRST_ERROR

    @property
    def is_missing(self) -> bool:
        """Whether there is no such route, or nothing at it."""
        return self.status == httpx2.codes.NOT_FOUND

    def get(self, name: str, default: Any = None) -> Any:
        """A field of a good answer."""
        return self.body.get(name, default) if self.is_good and isinstance(self.body, dict) else default

    @property
    def items(self) -> list[Any]:
        """The items of a good answer that is a list."""
        found: list[Any] = self.get("items", [])
        return found

    @property
    def detail(self) -> str:
        """What is wrong, in the service's words."""
        return str(self.body.get("detail", "")) if isinstance(self.body, dict) else ""


SILENT = ServiceAnswer(0, None)


class ServiceApi:
    """The service at `address` (`http://host:port`)."""

    def __init__(self, address: str, delegation: Delegation) -> None:
        self._delegation = delegation
        self._room = asyncio.Semaphore(AT_ONCE)
        self._http = httpx2.AsyncClient(
            base_url=address,
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            limits=LIMITS,
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def authorization(self, key_hash: bytes) -> str:
        """The header by which a request is one of that key."""
        return self._delegation.header(key_hash)

    async def ask(
        self,
        key_hash: bytes,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        *,
        max_age: int | None = None,
    ) -> ServiceAnswer:
        """One question. Whatever goes wrong is an answer, so that a page stands with the rest of what it shows.

        `max_age`: seconds that the answer may be old, where the service keeps it.
        """
        params = {name: str(value) for name, value in (query or {}).items() if value is not None and value != ""}
        headers = {"Authorization": self.authorization(key_hash)}
        if max_age is not None:
            headers["Cache-Control"] = f"max-age={max_age}"
        try:
            async with self._room:
                response = await self._http.request(method, path, params=params, json=body, headers=headers)
            return ServiceAnswer(response.status_code, _decode(response.content) if response.content else None)
        except (httpx2.HTTPError, OSError, msgspec.DecodeError):
            return SILENT


def api_path(*segments: str) -> str:
    """`/v1/users/a%2Fb/events`; a segment may be any text."""
    # httpx would take these two for steps of the path.
    quoted = [quote(segment, safe="") for segment in segments]
    return "/v1/" + "/".join(each.replace(".", "%2E") if each in (".", "..") else each for each in quoted)
