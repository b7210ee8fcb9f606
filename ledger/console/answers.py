"""The console's answers to HTTP: headers that let a page load nothing but our own files, cookies, redirects, forms."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ledger.console.sessions import SESSION_SECONDS
from ledger.console.visit import PageRefused

COOKIE = "presence_ledger_session"
LANGUAGE_COOKIE = "presence_ledger_lang"
LANGUAGE_SECONDS = 365 * 86_400
MAX_FORM_BYTES = 65_536
MAX_FIELDS = 50
SECURED = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Addresses have uids in them. Not `no-referrer`, with which a browser hides the origin of a form, too.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
NO_STORE = {"Cache-Control": "no-store"}


def html(text: str, status: int, tag: str) -> Response:
    """A page, which nobody keeps."""
    headers = SECURED | NO_STORE | {"Content-Language": tag, "Vary": "Cookie, Accept-Language"}
    return HTMLResponse(text, status, headers)


def moved(address: str) -> Response:
    """To another page, by GET."""
    return RedirectResponse(address, 303, SECURED | NO_STORE)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks HTTPS, perhaps to a proxy that speaks HTTP to us."""
    proto = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    return "https" in (request.url.scheme, proto, _origin(request)[0])


def _origin(request: Request) -> tuple[str, str]:
    """Scheme and host of the page that asks; empty where the browser does not say, or what was sent is no origin."""
    try:
        parts = urlsplit(request.headers.get("origin", ""))
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc


def remember_session(response: Response, session: str, *, secure: bool) -> None:
    """The session's cookie: out of reach of scripts, and sent along where a link from elsewhere is followed."""
    response.set_cookie(COOKIE, session, SESSION_SECONDS, path="/", secure=secure, httponly=True, samesite="lax")


def forget_session(response: Response, *, secure: bool) -> None:
    """Without it."""
    response.delete_cookie(COOKIE, path="/", secure=secure, httponly=True, samesite="lax")


def remember_language(response: Response, language: str, *, secure: bool) -> None:
    """The language that was chosen."""
    response.set_cookie(LANGUAGE_COOKIE, language, LANGUAGE_SECONDS, path="/", secure=secure, samesite="lax")


def query_of(request: Request) -> Mapping[str, str]:
    """The parameters of an address; of one that is given twice the last."""
    text = request.scope["query_string"].decode("latin-1")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        return {}


def refuse_forged(request: Request) -> None:
    """Raises Refused where another site's page sent the form; browsers say so."""
    site = request.headers.get("sec-fetch-site")
    _, host = _origin(request)
    # Behind a proxy the host may be another one than the browser's; there the first header speaks.
    elsewhere = "origin" in request.headers and (not host or host != request.headers.get("host"))
    if site not in (None, "same-origin", "none") or (site is None and elsewhere):
        raise PageRefused(403, "refused.forged")


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a form. Raises Refused."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_FORM_BYTES:
                raise PageRefused(413, "refused.large")
    except ClientDisconnect as error:
        raise PageRefused(400, "refused.form") from error
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise PageRefused(400, "refused.form") from error
