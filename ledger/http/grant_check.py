"""Whether what a stream's token grants covers the users that a request asks about."""

from collections.abc import Sequence

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from ledger.http.auth import NOT_FOR_TOKENS
from ledger.http.grants import Grant
from ledger.http.problems import Problem
from ledger.http.state import Services, get_services
from ledger.working_state import watch_lists
from projections.models.current import can_be_stored

OTHERS = "this token is for other users"


async def allow(request: Request, uids: Sequence[str], *, is_past: bool) -> None:
    """Let an API key ask about everybody, a token about its users, as they are now. Raises Problem, 403."""
    grant: Grant | None = getattr(request.state, "grant", None)
    if grant is None:
        return
    if is_past:
        raise Problem(403, NOT_FOR_TOKENS)
    if not await _covers(get_services(request), grant, uids):
        raise Problem(403, OTHERS)


def allow_list(request: Request, name: str) -> None:
    """Let an API key ask about every list, a token about its own. Raises Problem, 403."""
    grant: Grant | None = getattr(request.state, "grant", None)
    if grant is not None and grant.list != name:
        raise Problem(403, "this token is not for this list")


async def _covers(services: Services, grant: Grant, uids: Sequence[str]) -> bool:
    if grant.uids is not None:
        return grant.uids.issuperset(uids)
    if not all(map(can_be_stored, uids)):
        return False
    services.answering.expect_postgresql()

    def members() -> set[str]:
        with services.ledger.connection() as connection:
            return {uid for uid, names in watch_lists.lists_of(connection, uids).items() if grant.list in names}

    return (await run_in_threadpool(members)).issuperset(uids)
