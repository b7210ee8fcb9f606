"""The Python client of presence ledger: ask, watch with a cache that the stream keeps right, follow what changes.

from ledger.client import Client

with Client("http://127.0.0.1:8641", key) as ledger, ledger.watch(["alice", "bob"]) as watch:
    for presence in watch:
        print(presence.uid, presence.status)
"""

from ledger.client.asynchronous import AsyncClient
from ledger.client.errors import (
    ClientError,
    FieldFault,
    Forbidden,
    Invalid,
    NotFound,
    NotPresenceLedger,
    Problem,
    TimedOut,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from ledger.client.synchronous import Client, Watch
from ledger.client.values import (
    AsOf,
    Cause,
    Device,
    Disconnected,
    Gone,
    Heartbeat,
    Presence,
    Previous,
    Ready,
    Resumed,
    SourceChange,
    Status,
    Told,
    Uncertain,
)
from ledger.client.watching import Watch as AsyncWatch

__all__ = [
    "AsOf", "AsyncClient", "AsyncWatch", "Cause", "Client", "ClientError", "Device", "Disconnected", "FieldFault",
    "Forbidden", "Gone", "Heartbeat", "Invalid", "NotFound", "NotPresenceLedger", "Presence", "Previous", "Problem",
    "Ready", "Resumed", "SourceChange", "Status", "TimedOut", "Told", "Unauthorized", "Unavailable", "Uncertain",
    "Unreachable", "Watch",
]  # fmt: skip
