"""Pseudonyms: names that a key alone leads from uids to, so that without it nobody can go back."""

import base64
import hashlib
import hmac
import secrets
from functools import lru_cache
from itertools import count
from zlib import crc32

from ledger.domain.drift import SILENCED_SLOT, SLOTS

KEY_FILE = "pseudonym.key"
"""In the data folder: slices exported with one key have the same names for the same users."""

DIGITS = 16
"""Of 5 bits each."""

KEPT_PSEUDONYMS = 65_536


def new_key() -> str:
    """A key for the file."""
    return secrets.token_urlsafe(32)


class Pseudonyms:
    """What stands for uids, and for texts that may hold some; the same for the same, as long as the key is."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()
        self.pseudonym = lru_cache(maxsize=KEPT_PSEUDONYMS)(self._pseudonym)
        """The pseudonym of a uid: `p` and 16 small letters and digits, in slot zero exactly where the uid is."""

    def digest(self, text: str) -> str:
        """What stands for a digest of something that may hold uids: of its form, and equal where that is."""
        return self._hmac("digest", text).hex()

    def redacted(self, text: str) -> str:
        """What stands for a text that may hold uids: equal where that is, and nothing more."""
        return f"redacted-{self._hmac('text', text).hex()[:DIGITS]}"

    def _pseudonym(self, uid: str) -> str:
        tried = (self._name(uid, number) for number in count())
        return next(name for name in tried if _is_in_slot_zero(name) == _is_in_slot_zero(uid))

    def _name(self, uid: str, number: int) -> str:
        digits = base64.b32encode(self._hmac(f"uid {number}", uid)).decode().lower()
        return f"p{digits[:DIGITS]}"

    def _hmac(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{purpose}\0{text}".encode(errors="surrogatepass"), hashlib.sha256)


def _is_in_slot_zero(uid: str) -> bool:
    """Whether some versions of WuKongIM never say that the user is gone."""
    return crc32(uid.encode(errors="surrogatepass")) % SLOTS == SILENCED_SLOT
