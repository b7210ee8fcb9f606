"""Who may open a stream, and for whom: API keys that may read."""

from collections.abc import Mapping
from typing import NamedTuple

from ledger.http.auth import KeyRing
from ledger.http.problems import Problem

CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Viewer(NamedTuple):
    """Whoever reads a stream: by which key, which is looked at again and again, for it may be revoked."""

    key: str


async def viewer(keys: KeyRing, headers: Mapping[bytes, bytes], query: Mapping[str, list[str]]) -> Viewer:
    """Whoever asks. Raises Problem: 401 without a valid key, 403 where it may not read."""
    scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        if "token" in query:
            raise Problem(
                401, "this token is not one of ours; an API key never goes into an address", headers=CHALLENGE
            )
        raise Problem(401, "send an API key: 'Authorization: Bearer …'", headers=CHALLENGE)
    problem = await refusal(keys, given.strip())
    if problem is not None:
        raise problem
    return Viewer(given.strip())


async def refusal(keys: KeyRing, key: str) -> Problem | None:
    """Why this key opens no stream, or no longer does."""
    scopes = await keys.scopes(key)
    if scopes is None:
        return Problem(401, "this API key is unknown or revoked", headers=CHALLENGE)
    return None if "read" in scopes else Problem(403, "this API key has no scope 'read'")
