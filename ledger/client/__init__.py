"""The Python client of presence ledger: ask, watch with a cache that the stream keeps right, follow what changes.

from ledger.client import Client

with Client("http://127.0.0.1:8641", key) as ledger, ledger.watch(["alice", "bob"]) as watch:
    for presence in watch:
        print(presence.uid, presence.status)
"""

import importlib
from typing import TYPE_CHECKING, Any

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
from ledger.client.synchronous import Client
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

if TYPE_CHECKING:
    from ledger.client.asynchronous import AsyncClient
    from ledger.client.loop_thread import Watch
    from ledger.client.watching import Watch as AsyncWatch

__all__ = [
    "AsOf", "AsyncClient", "AsyncWatch", "Cause", "Client", "ClientError", "Device", "Disconnected", "FieldFault",
    "Forbidden", "Gone", "Heartbeat", "Invalid", "NotFound", "NotPresenceLedger", "Presence", "Previous", "Problem",
    "Ready", "Resumed", "SourceChange", "Status", "TimedOut", "Told", "Unauthorized", "Unavailable", "Uncertain",
    "Unreachable", "Watch",
]  # fmt: skip

_WITH_A_LOOP = {"AsyncClient": "asynchronous.AsyncClient", "AsyncWatch": "watching.Watch", "Watch": "loop_thread.Watch"}
"""Imported when they are asked for: asyncio takes longer than everything that a question needs."""


def __getattr__(name: str) -> Any:
    if name not in _WITH_A_LOOP:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _WITH_A_LOOP[name].partition(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
