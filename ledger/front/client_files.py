"""The browser's client, served to anybody: one ES module, put together from those beside this file, and its types."""

import gzip
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.responses import Response

from ledger.http import problems
from ledger.http.problems import Problem

PREFIX = "/client/"
FOLDER = Path(__file__).parent / "client"

MODULES = ("wire.js", "known.js", "watch.js", "feed.js", "presence-ledger.js")
"""What each of them imports stands before it."""

_IMPORT = re.compile(r"^import .*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|class|function|async)", re.MULTILINE)

_HEADERS = {
    # A page of any origin may load it: there is nothing secret in it, and it asks with a token of the page's own.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    # For five minutes nobody asks; then a tag tells whether the service has been upgraded.
    "Cache-Control": "public, max-age=300",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class _File(NamedTuple):
    body: bytes
    zipped: bytes
    tag: str
    media_type: str


def _file(body: bytes, media_type: str) -> _File:
    tag = hashlib.blake2b(body, digest_size=12).hexdigest()
    return _File(body, gzip.compress(body, mtime=0), tag, f"{media_type}; charset=utf-8")


def module() -> str:
    """All modules in one, so that a page fetches one file, and whoever serves it from elsewhere copies one."""
    *parts, public = (_IMPORT.sub("", (FOLDER / name).read_text(encoding="utf-8")) for name in MODULES)
    return "\n".join([*(_EXPORT.sub("", part) for part in parts), public])


class ClientFiles:
    """The files, read once."""

    def __init__(self) -> None:
        self._files = {
            "presence-ledger.js": _file(module().encode(), "text/javascript"),
            "presence-ledger.d.ts": _file((FOLDER / "presence-ledger.d.ts").read_bytes(), "application/typescript"),
        }

    def answer(self, method: str, path: str, headers: Headers) -> Response:
        """What is answered to a request for a path below `PREFIX`."""
        file = self._files.get(path.removeprefix(PREFIX))
        if file is None:
            return problems.answer(Problem(404, "there is no such file; the client is /client/presence-ledger.js"))
        if method not in ("GET", "HEAD"):
            return problems.answer(Problem(405, "GET", headers={"Allow": "GET, HEAD"}))
        zipped = "gzip" in headers.get("accept-encoding", "")
        tag = f'"{file.tag}{"-gzip" if zipped else ""}"'
        answered = _HEADERS | {"ETag": tag}
        if tag in [each.strip().removeprefix("W/") for each in headers.get("if-none-match", "").split(",")]:
            return Response(status_code=304, headers=answered)
        if zipped:
            answered["Content-Encoding"] = "gzip"
        return Response(file.zipped if zipped else file.body, headers=answered, media_type=file.media_type)
