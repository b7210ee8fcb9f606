"""Downloads of one user's slice of the ledger, as `presence-ledger export` writes it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import IO, Any

from psycopg import Connection
from starlette.responses import Response, StreamingResponse

from ledger.console.answers import NO_STORE, SECURED
from ledger.console.visit import PageRefused, PageRequest
from ledger.domain.instants import parse_timestamp
from ledger.http.questions import uid_problem
from ledger.slices import writing
from ledger.slices.archived import ArchivePlace
from ledger.slices.taking import SliceScope, open_slice
from ledger.store.mapper import EventMapper

AT_ONCE = 1
IN_MEMORY_BYTES = 8 * 1024 * 1024
PART_BYTES = 256 * 1024

Connect = Callable[[], AbstractContextManager[Connection[Any]]]


class Slices:
    """Takes slices, one at a time: each is a long read."""

    def __init__(self, connect: Connect, archive: ArchivePlace) -> None:
        self._connect = connect
        self._archive = archive
        self._mapper = EventMapper()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def answer(self, visit: PageRequest) -> Response:
        """The slice of `uid`, between `from` and `to` where they are given. Raises Refused, LedgerError."""
        uid = visit.query.get("uid", "")
        if uid_problem(uid) is not None:
            raise PageRefused(404, "refused.nothing")
        wanted = SliceScope((uid,), _instant(visit, "from"), _instant(visit, "to"))
        async with self._room:
            file = await asyncio.to_thread(self._take, wanted)
        disposition = {"Content-Disposition": 'attachment; filename="presence-ledger-slice.ndjson"'}
        return StreamingResponse(
            _parts(file), headers=SECURED | NO_STORE | disposition, media_type="application/x-ndjson"
        )

    def _take(self, wanted: SliceScope) -> IO[bytes]:
        """Whole before any of it is sent, so that what fails is told."""
        file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  (it is closed when it has been sent)
        try:
            with (
                self._connect() as connection,
                open_slice(connection, self._mapper, wanted, lambda done, of: None, self._archive) as found,
            ):
                writing.write(found, file)  # type: ignore[arg-type]
        except BaseException:  # whatever ends it, nobody else holds the file
            file.close()
            raise
        file.seek(0)
        return file


def _instant(visit: PageRequest, name: str) -> datetime | None:
    text = visit.query.get(name)
    if not text:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise PageRefused(422, "refused.instant", name=name) from error


async def _parts(file: IO[bytes]) -> AsyncIterator[bytes]:
    try:
        while part := await asyncio.to_thread(file.read, PART_BYTES):
            yield part
    finally:
        file.close()
