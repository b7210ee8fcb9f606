"""Calls into an event loop from a thread, which may outlive it: a stop does not wait for a store that is away."""

import asyncio
from collections.abc import Callable
from typing import Any


def call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> bool:
    """Have the loop call -> False where it has ended, and with it whoever would have been told."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise
        return False
    return True
