"""A share of the users, so that several processes read and judge a ledger together: each user is in one of them."""

from hashlib import sha256
from typing import NamedTuple

from ledger.store.mapper import user_stream

MAX_SHARES = 64
"""The digest's first byte tells whose share a user is: more shares than that would differ in size."""


class Share(NamedTuple):
    """One of so many shares, counted from 0. What sources recorded is in all of them, and counts in the first."""

    number: int = 0
    of: int = 1

    @property
    def is_first(self) -> bool:
        """Whether what is not of users counts here."""
        return self.number == 0

    def has(self, uid: str) -> bool:
        """Whether a user is in it. `ledger_rows` says the same in SQL; a reader of files is to say it, too."""
        return (
            self.of == 1 or sha256(user_stream(uid).encode(errors="surrogatepass")).digest()[0] % self.of == self.number
        )


WHOLE = Share()
"""Everybody."""
