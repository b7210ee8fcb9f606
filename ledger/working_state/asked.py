"""Who was asked about, told by every process that answers to the one that keeps hot users at hand.

By notification and in no table: whoever is not heard of is asked about again, and a value that is missing costs a
question more.
"""

import contextlib
from collections.abc import Iterable, Iterator

import msgspec
from psycopg import Connection, Notify
from psycopg.rows import TupleRow

CHANNEL = "presence_ledger_asked"

MAX_PAYLOAD_BYTES = 7_900
"""PostgreSQL takes less than 8,000."""

_TELL = "SELECT pg_notify(%s, %s)"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


def tell(connection: Connection[TupleRow], uids: Iterable[str]) -> None:
    """Let whoever listens know that these users were asked about."""
    with connection.transaction():
        for payload in payloads(uids):
            connection.execute(_TELL, (CHANNEL, payload))


def payloads(uids: Iterable[str]) -> Iterator[str]:
    """These users as the texts of notifications."""
    part, size = list[bytes](), 2
    for uid in uids:
        quoted = _encode(uid)
        if part and size + len(quoted) + 1 > MAX_PAYLOAD_BYTES:
            yield _joined(part)
            part, size = [], 2
        part.append(quoted)
        size += len(quoted) + 1
    if part:
        yield _joined(part)


class Hearing:
    """Hears who is asked about, over a connection on which others may hear it, too."""

    def __init__(self) -> None:
        self._connection: Connection[TupleRow] | None = None
        self._heard: set[str] = set()

    def take(self, connection: Connection[TupleRow]) -> set[str]:
        """Who was asked about since the time before; over another connection than then, from now on."""
        if connection is not self._connection:
            connection.add_notify_handler(self._note)
            self._connection = connection
        # What has come is handed over with the next answer.
        connection.execute(f"LISTEN {CHANNEL}".encode())
        heard, self._heard = self._heard, set()
        return heard

    def _note(self, notify: Notify) -> None:
        if notify.channel == CHANNEL:
            # Anybody who may connect may notify.
            with contextlib.suppress(msgspec.DecodeError):
                self._heard.update(_decode(notify.payload))


def _joined(quoted: list[bytes]) -> str:
    return f"[{b','.join(quoted).decode()}]"
