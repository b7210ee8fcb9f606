"""What the console asks with in place of an API key, which it does not keep: the key's hash, signed for a minute."""

import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any

import jwt

from ledger.http.grants import ALGORITHM, CHALLENGE
from ledger.http.problems import Problem
from ledger.store.stream_tokens import TokenRoot

SCHEME = "Console"
"""Of the header `Authorization`; nobody but a process of ours can sign what follows it."""
EXPIRES_SECONDS = 60
_PURPOSE = b"presence ledger console\n"


class Delegation:
    """Signs and reads such credentials; `roots` as `stream_tokens.roots` gives them."""

    def __init__(self, roots: Sequence[TokenRoot], now: Callable[[], float] = time.time) -> None:
        self._keys = {root.name: hmac.digest(root.secret, _PURPOSE, "sha256") for root in roots}
        self._signing = roots[0].name if roots else ""
        self._now = now

    def header(self, key_hash: bytes) -> str:
        """The header's value by which a request is one of the API key with that hash."""
        claims = {"key": key_hash.hex(), "exp": int(self._now()) + EXPIRES_SECONDS}
        return f"{SCHEME} {jwt.encode(claims, self._keys[self._signing], ALGORITHM, {'kid': self._signing})}"

    def read(self, header: str) -> bytes | None:
        """The hash of the API key that a header speaks for; None where it is of another scheme. Raises Problem, 401."""
        scheme, _, credentials = header.partition(" ")
        if scheme != SCHEME:
            return None
        try:
            key = self._keys[jwt.get_unverified_header(credentials)["kid"]]
            # Its time is ours to judge, so that one clock does.
            options: Any = {"verify_exp": False, "require": ["exp"]}
            claims: Any = jwt.decode(credentials, key, [ALGORITHM], options)
            if claims["exp"] < self._now():
                raise Problem(401, "these credentials have expired", headers=CHALLENGE)
            return bytes.fromhex(claims["key"])
        except (jwt.InvalidTokenError, KeyError, TypeError, ValueError) as error:
            raise Problem(401, "these credentials are none of ours", headers=CHALLENGE) from error
