"""The console as an ASGI application: who may see what, in which language, and which page answers."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

import structlog
from starlette.requests import Request
from starlette.responses import Response

from ledger.console import addresses, answers, login
from ledger.console.pages import GET, POST, live
from ledger.console.rendering import Renderer
from ledger.console.service import ServiceApi
from ledger.console.sessions import ConsoleSession, ConsoleSessions
from ledger.console.slices import Slices
from ledger.console.static import Static, static_files, version_of
from ledger.console.visit import NEEDED, Page, PageRefused, PageRequest, Redirect
from ledger.console.words import Words, choose, words
from ledger.domain.observation import Instant
from ledger.errors import LedgerError
from ledger.server.connections import Standing, vouch

log = structlog.get_logger()

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]

STATIC = "console"
SESSION_LOOK_SECONDS = 2.0
"""Whether the session of somebody who watches still holds."""
OURS = frozenset({"", "login", "logout", STATIC, "export", *GET})


class Console:
    """All pages. `stream` is the front's own stream, for the page that shows what changes as it changes."""

    def __init__(
        self, sessions: ConsoleSessions, service: ServiceApi, stream: Asgi, slices: Slices, now: Callable[[], Instant]
    ) -> None:
        found = static_files()
        self._sessions = sessions
        self._service = service
        self._stream = stream
        self._slices = slices
        self._now = now
        version = version_of(found)
        self._static = Static(found, version)
        self._renderer = Renderer(version)

    @staticmethod
    def takes(path: str) -> bool:
        """Whether a request for that path is the console's."""
        return path.lstrip("/").partition("/")[0] in OURS if path.startswith("/") else False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        request = Request(scope, receive)
        segments = _segments(request)
        if segments[:1] == (STATIC,):
            await self._static.answer(request, "/".join(segments[1:]))(scope, receive, send)
            return
        query = answers.query_of(request)
        spoken = words(
            choose(
                query.get("lang"), request.cookies.get(answers.LANGUAGE_COOKIE), request.headers.get("accept-language")
            )
        )
        session = None
        try:
            session = await self._session(request)
            if session is not None and segments == live.FEED and request.method == "GET":
                vouch(scope, Standing.KEYED)
                await self._feed(scope, session, receive, send)
                return
            response = await self._answer(request, segments, query, spoken, session)
        except PageRefused as refused:
            response = self._refusal(request, spoken, refused, session)
        except LedgerError as error:
            response = self._refusal(request, spoken, PageRefused(503, "refused.away", reason=str(error)), session)
        except Exception as error:  # a defect of one page must be seen, and is told to whoever asked for it
            log.exception("console_defect", error=type(error).__name__)
            response = self._refusal(request, spoken, PageRefused(500, "refused.defect"), session)
        if "lang" in query:
            answers.remember_language(response, spoken.language, secure=answers.is_secure(request))
        await response(scope, receive, send)

    async def _session(self, request: Request) -> ConsoleSession | None:
        given = request.cookies.get(answers.COOKIE)
        return await self._sessions.find(given) if given else None

    async def _feed(self, scope: Message, session: ConsoleSession, receive: Receive, send: Send) -> None:
        """The stream itself, asked for by the session's key, as long as the session lasts."""
        over = False

        async def receive_until_over() -> Message:
            nonlocal over
            waiting = asyncio.ensure_future(receive())
            try:
                while not (await asyncio.wait({waiting}, timeout=SESSION_LOOK_SECONDS))[0]:
                    if await self._sessions.find(session.id) is None:
                        over = True
                        return {"type": "http.disconnect"}
                answer: Message = waiting.result()
            finally:
                waiting.cancel()
            return answer

        await self._stream(self._streaming(scope, session), receive_until_over, send)
        if over:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _streaming(self, scope: Message, session: ConsoleSession) -> Message:
        headers = [each for each in scope["headers"] if each[0] not in (b"authorization", b"cookie")]
        signed = self._service.authorization(session.key_hash).encode()
        return {**scope, "path": "/v1/stream", "headers": [*headers, (b"authorization", signed)]}

    async def _answer(
        self, request: Request, segments: tuple[str, ...], query: Any, spoken: Words, session: ConsoleSession | None
    ) -> Response:
        if segments == ("login",):
            return await login.answer(request, self._sessions, self._renderer, spoken, query)
        if session is None:
            return self._to_login(request)
        vouch(request.scope, Standing.KEYED)
        form = await self._form(request, session)
        if segments == ("logout",):
            return await login.leave(request, self._sessions, session)
        if not session.may(NEEDED):
            raise PageRefused(403, "refused.scope", scope=NEEDED)
        visit = PageRequest(session, spoken, self._service, self._now(), segments, _address(request), query, form)
        if segments == ("export",):
            return await self._slices.answer(visit)
        handlers = POST if request.method == "POST" else GET
        handler = handlers.get(segments[0] if segments else "")
        if handler is None:
            raise PageRefused(405 if segments and segments[0] in GET else 404, "refused.nothing")
        shown = await handler(visit)
        if isinstance(shown, Redirect):
            return answers.moved(shown.address)
        # In a thread: a long page takes a twentieth of a second, which no stream should wait for.
        text = await asyncio.to_thread(self._renderer.page, shown, visit)
        return answers.html(text, shown.status, spoken.tag)

    async def _form(self, request: Request, session: ConsoleSession) -> Any:
        """What a change brings along. Raises Refused where no page of ours sent it."""
        if request.method in ("GET", "HEAD"):
            return {}
        if request.method != "POST":
            raise PageRefused(405, "refused.nothing")
        answers.refuse_forged(request)
        form = await answers.form_of(request)
        if not hmac.compare_digest(form.get("csrf", "").encode(), session.csrf.encode()):
            raise PageRefused(403, "refused.forged")
        return form

    def _to_login(self, request: Request) -> Response:
        if request.headers.get("sec-fetch-dest") == "empty" or "part" in request.query_params:
            # Asked for by a script of a page: it loads the page anew, and that leads to the login.
            return Response(status_code=401, headers=answers.SECURED | answers.NO_STORE)
        wanted = _address(request) if request.method == "GET" else None
        return answers.moved(addresses.with_query(addresses.LOGIN, {"next": None if wanted == "/" else wanted}))

    def _refusal(
        self, request: Request, spoken: Words, refused: PageRefused, session: ConsoleSession | None
    ) -> Response:
        facts = {"sentence": spoken(refused.key, **refused.facts), "offer_logout": session and session.csrf}
        page = Page("refused.html", spoken("refused.title"), facts)
        text = self._renderer.bare(page, spoken, _address(request))
        return answers.html(text, refused.status, spoken.tag)


def _segments(request: Request) -> tuple[str, ...]:
    """Of the path as it was sent: an encoded "/" is part of a uid. `/users/` has an empty last one."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    parts = raw.partition(b"?")[0].split(b"/")[1:]
    found = tuple(unquote(part.decode("latin-1"), errors="replace") for part in parts)
    return () if found == ("",) else found


def _address(request: Request) -> str:
    """Path and query, as they were asked for."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope["query_string"]
    path = raw.partition(b"?")[0].decode("latin-1")
    return f"{path}?{query.decode('latin-1')}" if query else path
