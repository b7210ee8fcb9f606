"""What a stream's token grants: the presence of some users or of a list, for a time; a JWT, stored nowhere."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import jwt
import msgspec

from ledger.domain.observation import SECOND, Instant
from ledger.http.fresh import Fresh
from ledger.http.problems import Problem
from ledger.store.stream_tokens import TokenRoot

ALGORITHM = "HS256"
MAX_EXPIRES_SECONDS = 86_400
MAX_TOKEN_CHARACTERS = 60_000
"""An address has room for 64 KiB."""

CHALLENGE = {"WWW-Authenticate": "Bearer"}


class _Claims(msgspec.Struct, omit_defaults=True):
    exp: int
    uids: list[str] | None = None
    list: str | None = None


class Grant(NamedTuple):
    """These users, or those who are on a list, until `expires_at`, in seconds since 1970."""

    uids: frozenset[str] | None
    list: str | None
    expires_at: int
    generation: UUID

    def ended(self, now: float, generation: UUID) -> str | None:
        """Why it no longer holds, if so: it is `expired`, or `revoked` with all others of its generation."""
        if generation != self.generation:
            return "revoked"
        return "expired" if now >= self.expires_at else None


class Tokens:
    """Signs tokens and reads them; `roots` as `stream_tokens.roots` gives them, `load` reads the generation."""

    def __init__(
        self, load: Callable[[], UUID], roots: Sequence[TokenRoot], now: Callable[[], float] = time.time
    ) -> None:
        self._generation = Fresh(load)
        self.roots = roots
        self._roots = {root.name: root for root in roots}
        self._signing = roots[0]
        self._now = now

    async def sign(self, uids: Sequence[str] | None, name: str | None, seconds: int) -> tuple[str, Instant]:
        """-> (a token for these users or this list, when it expires). Raises StoreUnavailable."""
        generation = await self._generation.get()
        expires_at = math.ceil(self._now()) + seconds
        claims = msgspec.to_builtins(_Claims(expires_at, None if uids is None else list(uids), name))
        key = self._signing.key(generation)
        return jwt.encode(claims, key, ALGORITHM, {"kid": self._signing.name}), expires_at * SECOND

    async def read(self, token: str) -> Grant:
        """What a token grants. Raises StoreUnavailable, and Problem, 401: it is expired, revoked or none of ours."""
        generation = await self._generation.get()
        try:
            root = self._roots[jwt.get_unverified_header(token)["kid"]]
            # Its time is ours to judge, so that one clock does.
            options: Any = {"verify_exp": False, "require": ["exp"]}
            found: Any = jwt.decode(token, root.key(generation), [ALGORITHM], options)
            claims = msgspec.convert(found, _Claims)
        except (jwt.InvalidTokenError, KeyError, TypeError, msgspec.ValidationError) as error:
            raise Problem(401, "this token is not one of ours, or it was revoked", headers=CHALLENGE) from error
        uids = None if claims.uids is None else frozenset(claims.uids)
        grant = Grant(uids, claims.list, claims.exp, generation)
        if grant.ended(self._now(), generation):
            raise Problem(401, "this token has expired", headers=CHALLENGE)
        return grant

    async def ended(self, grant: Grant) -> str | None:
        """Why what a token granted no longer holds, if so. Raises StoreUnavailable."""
        return grant.ended(self._now(), await self._generation.get())


def is_token(credentials: str) -> bool:
    """Whether it has the form of one: a key of the settings may have dots, but not the begin of a JSON object, too."""
    return credentials.startswith("eyJ") and credentials.count(".") == 2
