"""Login by an API key, and logout. The key is in no address, log or page: it is looked up, and its hash kept."""

from collections.abc import Mapping

import structlog
from starlette.requests import Request
from starlette.responses import Response

from ledger.console import addresses, answers
from ledger.console.rendering import Renderer
from ledger.console.sessions import ConsoleSession, ConsoleSessions
from ledger.console.visit import NEEDED, Page, PageRefused
from ledger.console.words import Words
from ledger.repeated_logs import LogThrottle
from ledger.server.connections import Standing, vouch
from ledger.store.api_keys import key_hash

log = structlog.get_logger()

_refused_logins = LogThrottle()


async def answer(
    request: Request, sessions: ConsoleSessions, renderer: Renderer, spoken: Words, query: Mapping[str, str]
) -> Response:
    """The form, or what becomes of it. Raises Refused, StoreUnavailable."""
    wanted = addresses.safe_next(query.get("next"))
    if request.method in ("GET", "HEAD"):
        return _form(request, renderer, spoken, wanted)
    if request.method != "POST":
        raise PageRefused(405, "refused.nothing")
    answers.refuse_forged(request)
    form = await answers.form_of(request)
    wanted = addresses.safe_next(form.get("next") or query.get("next"))
    key = form.get("key", "").strip()
    found = await sessions.keys.find(key) if key else None
    if found is None:
        if times := _refused_logins.due("unknown_key"):
            log.warning("console_login_refused", reason="unknown_key", times=times, client=_client(request))
        return _form(request, renderer, spoken, wanted, failed=True)
    vouch(request.scope, Standing.KEYED)
    if NEEDED not in found.scopes:
        raise PageRefused(403, "refused.scope", scope=NEEDED)
    session = await sessions.begin(key_hash(key), found.name)
    log.info("console_login", key=found.name, client=_client(request))
    response = answers.moved(wanted)
    answers.remember_session(response, session, secure=answers.is_secure(request))
    return response


async def leave(request: Request, sessions: ConsoleSessions, session: ConsoleSession) -> Response:
    """A logout, by a form alone: no link of another page ends a session. Raises Refused, StoreUnavailable."""
    if request.method != "POST":
        raise PageRefused(405, "refused.nothing")
    await sessions.end(session)
    response = answers.moved(addresses.LOGIN)
    answers.forget_session(response, secure=answers.is_secure(request))
    return response


def _form(request: Request, renderer: Renderer, spoken: Words, wanted: str, *, failed: bool = False) -> Response:
    page = Page("login.html", spoken("login.title"), {"next": wanted, "failed": failed})
    here = addresses.with_query(addresses.LOGIN, {"next": None if wanted == "/" else wanted})
    return answers.html(renderer.bare(page, spoken, here), 401 if failed else 200, spoken.tag)


def _client(request: Request) -> str:
    return request.client.host if request.client is not None else ""
