"""Who may ask: API keys by their hash, with scopes; the webhook's secret in constant time."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from fastapi import Request

from ledger.http import edge
from ledger.http.delegation import Delegation
from ledger.http.fresh import Fresh
from ledger.http.grants import Grant, Tokens, is_token
from ledger.http.problems import Problem
from ledger.http.reads import Reads
from ledger.http.refusals import Refusals, WhyDenied
from ledger.server.connections import Standing, vouch
from ledger.settings import ApiKeySettings
from ledger.store.api_keys import key_hash

Keys = Mapping[bytes, tuple[str, frozenset[str]]]
"""By the hash of the key: its name and its scopes."""


class KnownKey(NamedTuple):
    """A key that is in force."""

    name: str
    scopes: frozenset[str]


class KeyRing:
    """The keys in force: the fixed ones of the settings, and those of the database, read again every second.

    While the store is away the keys last read stay in force.
    """

    def __init__(self, load: Callable[[], Keys], fixed: Sequence[ApiKeySettings]) -> None:
        self._stored = Fresh(load)
        self.fix(fixed)

    def fix(self, keys: Sequence[ApiKeySettings]) -> None:
        """These are the fixed ones from now on."""
        self._fixed: Keys = {key_hash(key.key): (key.name, key.scopes) for key in keys}

    async def find(self, key: str) -> KnownKey | None:
        """A key's name and scopes, None if it is none of ours. Raises StoreUnavailable."""
        return await self.find_by_hash(key_hash(key))

    async def find_by_hash(self, hashed: bytes) -> KnownKey | None:
        """The same of the key that has that hash. Raises StoreUnavailable."""
        found = self._fixed.get(hashed) or (await self._stored.get()).get(hashed)
        return None if found is None else KnownKey(*found)


def require(*scopes: str, basic: bool = False, tokens: bool = False) -> Callable[[Request], Awaitable[None]]:
    """A dependency that lets a request pass whose key has one of the scopes: 401 without a valid key, 403 without.

    With `basic` the key may also come as the password of HTTP's basic authentication, which browsers ask for; with
    `tokens` it may be a stream's token, and what that grants is in `request.state.grant` then.
    """
    challenge = {"WWW-Authenticate": 'Basic realm="presence ledger: an API key as the password"' if basic else "Bearer"}

    async def check(request: Request) -> None:
        header = request.headers.get("authorization", "")
        token = _extract_token(header)
        if token is not None:
            request.state.grant = await _granted(request, token, tokens=tokens)
            request.state.key_name = TOKEN_NAME
            note_read(request)
            return
        delegation: Delegation = request.app.state.delegation
        key = _extract_key(header, basic=basic)
        hashed = key_hash(key) if key else delegation.read(header)
        refusals: Refusals = request.app.state.services.refusals
        if hashed is None:
            refusals.deny(WhyDenied.NO_KEY, client_address(request))
            raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=challenge)
        keys: KeyRing = request.app.state.keys
        found = await keys.find_by_hash(hashed)
        if found is None:
            refusals.deny(WhyDenied.UNKNOWN_KEY, client_address(request))
            raise Problem(401, "this API key is unknown or revoked", headers=challenge)
        vouch(request.scope, Standing.KEYED)
        if found.scopes.isdisjoint(scopes):
            refusals.deny(WhyDenied.SCOPE, client_address(request))
            raise Problem(403, f"this API key has no scope '{scopes[0]}'")
        request.state.key_name = found.name
        note_read(request)

    return check


TOKEN_NAME = "(stream token)"  # noqa: S105  (a name)
"""Who asks with a token, where an API key has its name, which has no brackets."""


def note_read(request: Request, uids: Sequence[str] | None = None) -> None:
    """Log, where the settings ask for it, that somebody asks about users: the one of the path, or these."""
    reads: Reads | None = request.app.state.services.reads
    if reads is None:
        return
    if uids is None:
        if request.method != "GET" or "uid" not in request.path_params:
            return
        uids = [request.path_params["uid"]]
    reads.note(request.state.key_name, request.scope["route"].path.replace("{uid:uid}", "{uid}"), uids)


async def _granted(request: Request, token: str, *, tokens: bool) -> Grant:
    """What a stream's token grants. Raises Problem: 401 where it is none of ours, 403 where none is of use."""
    refusals: Refusals = request.app.state.services.refusals
    reader: Tokens = request.app.state.tokens
    try:
        grant = await reader.read(token)
    except Problem:
        refusals.deny(WhyDenied.TOKEN, client_address(request))
        raise
    vouch(request.scope, Standing.KEYED)
    if not tokens:
        refusals.deny(WhyDenied.SCOPE, client_address(request))
        raise Problem(403, NOT_FOR_TOKENS)
    return grant


NOT_FOR_TOKENS = "a stream's token is for the presence and the stream of its users, as they are now, and nothing else"


def client_address(request: Request) -> str:
    """The address that a request came from, perhaps a proxy's."""
    return request.client.host if request.client is not None else ""


async def may_scrape(request: Request) -> None:
    """A dependency that lets a request pass which has the scope that the settings want for `/metrics`."""
    scope = request.app.state.services.settings.metrics_scope
    if scope != "none":
        await require(scope)(request)


def _extract_token(header: str) -> str | None:
    """The token that came as a key does, or in the address (`edge.with_token`), where no key may be."""
    scheme, _, credentials = header.partition(" ")
    if scheme == edge.ADDRESS_SCHEME:
        return credentials
    return credentials.strip() if scheme.lower() == "bearer" and is_token(credentials) else None


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
