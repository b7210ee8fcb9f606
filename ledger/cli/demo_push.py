"""What the demo shows beside the ledger: messages that go on to a business server, and the stream of what changes."""

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx2

from ledger.client import AsyncClient, ClientError, Presence

CHAT_SECONDS = 1.0
"""How often somebody says something."""

WORDS = ("hello", "are you there?", "on my way", "later", "thanks", "see you")


async def chat(hook: str, online: Callable[[], Sequence[str]]) -> None:
    """Post the webhooks of messages as WuKongIM does; `hook` is the address without its event. Cancelled at the end."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        while True:
            await asyncio.sleep(CHAT_SECONDS)
            users = online()
            if len(users) > 1:
                sender, receiver = random.sample(users, 2)
                with suppress(httpx2.HTTPError):
                    await http.post(f"{hook}?event=msg.notify", content=_message(sender, receiver))


def _message(sender: str, receiver: str) -> bytes:
    text = random.choice(WORDS)  # noqa: S311  (as above)
    payload = base64.b64encode(json.dumps({"type": 1, "content": text}).encode()).decode()
    message = {
        "message_id": random.getrandbits(62),
        "from_uid": sender,
        "channel_id": receiver,
        "channel_type": 1,
        "timestamp": int(time.time()),
        "payload": payload,
    }
    return json.dumps([message]).encode()


async def follow(front: str, key: str, tell: Callable[[Presence], object]) -> None:
    """Tell of everybody's changes as the stream does, to its end: it is opened again, but for an error that lasts."""
    async with AsyncClient(front, key) as ledger:
        with suppress(ClientError):
            async for told in ledger.follow():
                if isinstance(told.said, Presence):
                    tell(told.said)
