"""Heads: the last seal of a ledger, signed and kept elsewhere, against which a cut or a rewritten ledger shows."""

import hmac
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ledger.errors import LedgerError
from ledger.store.seal import SealKey, SealKeys

FORMAT = 1
_PURPOSE = b"presence ledger head\n"
MAX_BYTES = 4096
"""No more of a head's file is read."""


class HeadError(LedgerError):
    """A file is not the head of a ledger, is incomplete, or was altered."""


class HeadKeyMissing(HeadError):
    """A head is signed by a key that is not here."""


@dataclass(frozen=True)
class SealHead:
    """The last seal at some time: the position up to which it proves the ledger, and how many seals led to it."""

    position: int
    seal: bytes
    seals: int
    made_at: str
    """RFC 3339."""


def new_head(position: int, seal: bytes, seals: int, made_at: datetime) -> SealHead:
    """A head of now."""
    return SealHead(position, seal, seals, made_at.isoformat(timespec="seconds").replace("+00:00", "Z"))


def to_fields(head: SealHead, key: SealKey) -> dict[str, Any]:
    """The head as JSON has it, signed."""
    fields = {
        "presence_ledger_head": FORMAT,
        "position": head.position,
        "seal": head.seal.hex(),
        "seals": head.seals,
        "made_at": head.made_at,
        "key_id": key.id.hex(),
    }
    return fields | {"signature": _signature(fields, key)}


def to_text(head: SealHead, key: SealKey) -> str:
    """The content of a head's file."""
    return json.dumps(to_fields(head, key), indent=2) + "\n"


def from_fields(fields: Any, keys: SealKeys, name: str) -> SealHead:
    """The head that `to_fields` wrote, read from `name`. Raises HeadError."""
    if not isinstance(fields, dict) or "presence_ledger_head" not in fields:
        raise HeadError(f"{name} is not the head of a ledger.\n`presence-ledger verify --export-head FILE` writes one.")
    if fields["presence_ledger_head"] != FORMAT:
        raise HeadError(f"{name} was written by a newer version of presence ledger.\nUpgrade this one.")
    try:
        key = keys.get(bytes.fromhex(fields["key_id"]))
        if key is None:
            raise HeadKeyMissing(
                f"{name} is signed by the key {fields['key_id']}, which is not here.\n"
                "Add that key to seal_keys, or use a head that this ledger exported."
            )
        signature = fields.pop("signature")
        head = SealHead(int(fields["position"]), bytes.fromhex(fields["seal"]), int(fields["seals"]), fields["made_at"])
        genuine = hmac.compare_digest(_signature(fields, key), signature)
    except (KeyError, TypeError, ValueError) as error:
        raise HeadError(f"{name} is incomplete.\nUse another copy of it, or an older head.") from error
    if not genuine:
        raise HeadError(f"{name} was altered since it was exported.\nUse another copy of it, or an older head.")
    return head


def from_text(text: bytes, keys: SealKeys, name: str) -> SealHead:
    """The head of a file's content. Raises HeadError."""
    try:
        fields = json.loads(text[:MAX_BYTES]) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise HeadError(f"{name} is not the head of a ledger, or only part of one.\nUse another copy of it.") from error
    return from_fields(fields, keys, name)


def _signature(fields: dict[str, Any], key: SealKey) -> str:
    content = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return hmac.digest(key.secret, _PURPOSE + content, "sha256").hex()
