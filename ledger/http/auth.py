"""Who may ask: API keys by their hash, with scopes; the webhook's secret in constant time."""

import asyncio
import base64
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import Request

from ledger.errors import StoreUnavailable
from ledger.http.problems import Problem
from ledger.http.refusals import Refusals, WhyDenied
from ledger.server.connections import Standing, vouch
from ledger.settings import ApiKeySettings
from ledger.store.api_keys import key_hash

FRESH_SECONDS = 1.0
"""A key made or revoked by another process is known after so long at the latest."""

Keys = Mapping[bytes, tuple[str, frozenset[str]]]
"""By the hash of the key: its name and its scopes."""


class KeyRing:
    """The keys in force: the fixed ones of the settings, and those of the database, read again every second.

    While the store is away the keys last read stay in force.
    """

    def __init__(self, load: Callable[[], Keys], fixed: Sequence[ApiKeySettings]) -> None:
        self._load = load
        self._fixed: Keys = {key_hash(key.key): (key.name, key.scopes) for key in fixed}
        self._stored: Keys | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def scopes(self, key: str) -> frozenset[str] | None:
        """The scopes of a key, None if it is none of ours."""
        hashed = key_hash(key)
        fixed = self._fixed.get(hashed)
        if fixed is not None:
            return fixed[1]
        if time.monotonic() - self._read_at > FRESH_SECONDS:
            await self._refresh()
        known = (self._stored or {}).get(hashed)
        return None if known is None else known[1]

    async def _refresh(self) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at <= FRESH_SECONDS:
                return
            try:
                self._stored = await asyncio.to_thread(self._load)
            except StoreUnavailable:
                if self._stored is None:
                    raise
            self._read_at = time.monotonic()


def require(scope: str, *, basic: bool = False) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass whose key has the scope: 401 without a valid key, 403 without the scope.

    With `basic` the key may also come as the password of HTTP's basic authentication, which browsers ask for.
    """
    challenge = {"WWW-Authenticate": 'Basic realm="presence ledger: an API key as the password"' if basic else "Bearer"}

    async def check(request: Request) -> None:
        key = _extract_key(request.headers.get("authorization", ""), basic=basic)
        refusals: Refusals = request.app.state.services.refusals
        if not key:
            refusals.deny(WhyDenied.NO_KEY, client_address(request))
            raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=challenge)
        keys: KeyRing = request.app.state.keys
        scopes = await keys.scopes(key)
        if scopes is None:
            refusals.deny(WhyDenied.UNKNOWN_KEY, client_address(request))
            raise Problem(401, "this API key is unknown or revoked", headers=challenge)
        vouch(request.scope, Standing.KEYED)
        if scope not in scopes:
            refusals.deny(WhyDenied.SCOPE, client_address(request))
            raise Problem(403, f"this API key has no scope '{scope}'")

    return check


def client_address(request: Request) -> str:
    """The address that a request came from, perhaps a proxy's."""
    return request.client.host if request.client is not None else ""


def _extract_key(header: str, *, basic: bool) -> str:
    scheme, _, credentials = header.partition(" ")
    credentials = credentials.strip()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
        except ValueError:  # not ASCII, no base64 (binascii.Error), not UTF-8 (UnicodeError)
            return ""
    return credentials if scheme.lower() == "bearer" else ""


def secret_matches(given: str, accepted: Sequence[str]) -> bool:
    """Whether a webhook's secret is one of those accepted, in a time that does not tell how near it came."""
    data = given.encode(errors="surrogatepass")
    matches = [hmac.compare_digest(data, secret.encode()) for secret in accepted]
    return any(matches)
