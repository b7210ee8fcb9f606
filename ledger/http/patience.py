"""What a request is told that waits for a PostgreSQL which has fallen silent."""

import re
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from ledger.errors import StoreUnavailable
from ledger.http import problems
from ledger.http.edge import Message, Send
from ledger.http.state import Services
from ledger.server.stuck import answer_who_reads

WITH_BOUNDS_OF_THEIR_OWN = ("/hooks/", "/health/")

FROM_MEMORY = re.compile(r"/v1/(presence/query|users/.+/presence)")
"""While PostgreSQL is away these ask it nothing."""

App = Callable[[Message, Any, Send], Coroutine[Any, Any, None]]


async def answer_in_time(app: App, services: Services, scope: Message, receive: Any, send: Send) -> None:
    """Have the app answer, or else tell 503; an answer that has begun is cut off then, or where nobody reads it."""
    if scope["path"].startswith(WITH_BOUNDS_OF_THEIR_OWN):
        await app(scope, receive, send)
    else:
        await answer_who_reads(partial(_answer_while_alive, app, services), scope, receive, send)


async def _answer_while_alive(app: App, services: Services, scope: Message, receive: Any, send: Send) -> None:
    has_begun = is_given_up = False

    async def send_while_waited_for(message: Message) -> None:
        nonlocal has_begun
        if not is_given_up:
            has_begun = True
            await send(message)

    needs_nothing = services.answering.is_away and FROM_MEMORY.fullmatch(scope["path"]) is not None
    try:
        await services.pulse.bounded(app(scope, receive, send_while_waited_for), anyway=needs_nothing)
    except StoreUnavailable as error:
        is_given_up = True
        services.answering.note_failure(error)
        if not has_begun:
            answer = problems.from_ledger_error(error, services.outages, scope["path"])
            await answer(scope, receive, send)
