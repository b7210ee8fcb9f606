"""Who may open a stream, and for whom: API keys that may read, and tokens for their users or their list."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ledger.front.asked import StreamRequest
from ledger.http.auth import KeyRing
from ledger.http.delegation import Delegation
from ledger.http.grants import CHALLENGE, Grant, Tokens, is_token
from ledger.http.problems import Problem
from ledger.store.api_keys import key_hash

OTHERS = "this token is for other users"


class Viewer(NamedTuple):
    """Who reads a stream: by a key, which is looked at again and again, for it may be revoked, or by a token."""

    key_hash: bytes
    grant: Grant | None = None


class Access:
    """What opens streams."""

    def __init__(self, keys: KeyRing, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens
        self._delegation = Delegation(tokens.roots)

    async def viewer(self, headers: Mapping[bytes, bytes], query: Mapping[str, list[str]]) -> Viewer:
        """Who asks. Raises Problem: 401 without a valid key or token, 403 where it may not read."""
        header = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, credentials = header.partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else ""
        hashed = key_hash(given) if given else self._delegation.read(header)
        if hashed is None and "token" in query:
            return await self._by_token(query["token"][0])
        if hashed is None:
            raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=CHALLENGE)
        if is_token(given):
            return await self._by_token(given)
        problem = await self._refusal(hashed)
        if problem is not None:
            raise problem
        return Viewer(hashed)

    async def expect(self, headers: Mapping[bytes, bytes], scope: str) -> None:
        """Raises Problem where no key of that scope was sent: 401, 403; StoreUnavailable."""
        scheme, _, credentials = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else ""
        if not given:
            raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=CHALLENGE)
        if (problem := await self._refusal(key_hash(given), scope)) is not None:
            raise problem

    async def expect_known(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises Problem, 401, where neither a key of whatever scope nor a token was sent; StoreUnavailable."""
        header = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, credentials = header.partition(" ")
        given = credentials.strip() if scheme.lower() == "bearer" else ""
        if is_token(given):
            await self._tokens.read(given)
            return
        hashed = key_hash(given) if given else self._delegation.read(header)
        if hashed is None:
            raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=CHALLENGE)
        if await self._keys.find_by_hash(hashed) is None:
            raise Problem(401, "this API key is unknown or revoked", headers=CHALLENGE)

    async def ended(self, viewer: Viewer) -> str | None:
        """Why a stream is to end, if so: its key or token is `revoked`, or `expired`. Raises StoreUnavailable."""
        if viewer.grant is not None:
            return await self._tokens.ended(viewer.grant)
        return None if await self._refusal(viewer.key_hash) is None else "revoked"

    async def _by_token(self, token: str) -> Viewer:
        return Viewer(b"", await self._tokens.read(token))

    async def _refusal(self, hashed: bytes, scope: str = "read") -> Problem | None:
        """Why the key with this hash opens nothing that wants the scope, or no longer does."""
        found = await self._keys.find_by_hash(hashed)
        if found is None:
            return Problem(401, "this API key is unknown or revoked", headers=CHALLENGE)
        return None if scope in found.scopes else Problem(403, f"this API key has no scope '{scope}'")


def within(viewer: Viewer, asked: StreamRequest) -> StreamRequest:
    """What is asked, where it may be; with a token that names nobody, all that it is for. Raises Problem, 403."""
    grant = viewer.grant
    if grant is None:
        return asked
    if asked.uids is None and asked.list is None:
        return asked.of(grant.uids, grant.list)
    if asked.list != grant.list:
        raise Problem(403, "this token is not for this list" if asked.list is not None else OTHERS)
    may_watch(viewer, asked.uids or ())
    return asked


def may_watch(viewer: Viewer, uids: Collection[str]) -> None:
    """Raises Problem, 403, where a token is not for these users."""
    if viewer.grant is not None and viewer.grant.uids is not None and not viewer.grant.uids.issuperset(uids):
        raise Problem(403, OTHERS)
