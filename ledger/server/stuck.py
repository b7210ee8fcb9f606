"""Readers who take nothing of an answer that comes in parts: given up, since what answers waits for them."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Any, Send], Awaitable[None]]

STUCK_SECONDS = 60.0
"""A reader who takes nothing for so long is given up: what is sent waits for them, here and in the system's buffers."""


async def answer_who_reads(app: App, scope: Message, receive: Any, send: Send) -> None:
    """Have the app answer. A part that is not taken within STUCK_SECONDS ends it, and with it the connection."""
    loop, patience = asyncio.get_running_loop(), asyncio.timeout(None)
    try:
        async with patience:

            async def send_in_time(message: Message) -> None:
                if not message.get("more_body"):
                    await send(message)
                    return
                patience.reschedule(loop.time() + STUCK_SECONDS)
                await send(message)
                patience.reschedule(None)

            await app(scope, receive, send_in_time)
    except TimeoutError:
        if not patience.expired():
            raise
