"""Errors as RFC 9457 problems: the one place where an exception becomes an answer."""

from collections.abc import Sequence

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ledger.errors import LedgerError, StoreUnavailable
from ledger.http.answers import FieldError, ProblemBody, encode
from ledger.http.outages import Outages
from ledger.store.archive.manifest import ArchiveDamaged
from ledger.text import shortened
from ledger.working_state.sources import SourceUnreadable

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

TITLES = {
    400: "Bad request",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Body too slow",
    409: "Conflict",
    413: "Body too large",
    415: "Unknown encoding",
    422: "Invalid request",
    500: "Defect",
    503: "Store unavailable",
}


class Problem(Exception):
    """An answer that is an error; `errors` names the fields at fault."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: dict[str, str] | None = None,
        title: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title or TITLES.get(status, "Error")
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers


def invalid(field: str, detail: str) -> Problem:
    """422 for one field."""
    field = shortened(field, MAX_FIELD_LENGTH)
    return Problem(422, f"{field}: {detail}", [FieldError(field, detail)])


MAX_ERRORS = 10
NAMED = 5
"""So many of them in the detail."""
MAX_DETAIL_LENGTH = 2000
MAX_FIELD_LENGTH = 100
"""Names of fields may be the sender's own words, which no answer repeats at length."""


def answer(problem: Problem) -> Response:
    """The response of a problem, of a bounded length whatever was sent."""
    body = ProblemBody(title=problem.title, status=problem.status, detail=shortened(problem.detail, MAX_DETAIL_LENGTH))
    if problem.errors:
        body.errors = [
            FieldError(shortened(error.field, MAX_FIELD_LENGTH), shortened(error.detail, MAX_DETAIL_LENGTH))
            for error in problem.errors[:MAX_ERRORS]
        ]
    return Response(encode(body), problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Turn every exception of the app's routes into a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(LedgerError, _ledger)
    app.add_exception_handler(Exception, _defect)


def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error)


def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return validation(error)


def validation(error: RequestValidationError) -> Response:
    """422 for the fields at fault, the first of them named."""
    found = error.errors()
    errors = [FieldError(_field_name(e["loc"]), _said(e["msg"])) for e in found[:MAX_ERRORS]]
    detail = "; ".join(f"{e.field}: {e.detail}" for e in errors[:NAMED])
    if len(found) > NAMED:
        detail += f"; and {len(found) - NAMED:,} more"
    return answer(Problem(422, detail, errors))


def _said(message: str) -> str:
    """What a check of ours said, without what pydantic puts before it."""
    return message.removeprefix("Value error, ")


def _field_name(location: Sequence[int | str]) -> str:
    """`uids.17` of ("body", "uids", 17); where the whole body is at fault, `body`."""
    names = [str(part) for part in location[1:]] or [str(part) for part in location]
    return shortened(".".join(names), MAX_FIELD_LENGTH)


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return answer(Problem(error.status_code, str(error.detail), headers=headers))


def _ledger(request: Request, error: Exception) -> Response:
    assert isinstance(error, LedgerError)
    outages: Outages = request.app.state.services.outages
    return from_ledger_error(error, outages, request.url.path)


def from_ledger_error(error: LedgerError, outages: Outages, path: str) -> Response:
    """503 where something has to come back first: the store, a newer version, a file of the archive; else 500."""
    if isinstance(error, StoreUnavailable):
        outages.for_path(path).failed(str(error))
        return answer(Problem(503, str(error), headers={"Retry-After": "1"}))
    if isinstance(error, SourceUnreadable):
        if times := outages.unreadable.due(error.source):
            log.error("source_unreadable", source=error.source, reason=str(error), times=times)
        return answer(Problem(503, str(error), headers={"Retry-After": "1"}, title="Source unreadable"))
    if isinstance(error, ArchiveDamaged):
        log.error("archive_damaged", reason=str(error))
        return answer(Problem(503, str(error), title="Archive damaged"))
    log.error("request_failed", reason=str(error), error=type(error).__name__)
    return answer(Problem(500, str(error)))


def _defect(_: Request, error: Exception) -> Response:
    # The path is left out: it may hold a webhook's secret.
    log.error("defect", error=type(error).__name__, exc_info=error)
    return answer(Problem(500, "an unexpected error; the service's log has it"))
