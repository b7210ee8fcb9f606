"""The files that the pages load: our scripts and styles, and uPlot; nothing is loaded from elsewhere."""

import gzip
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from ledger.console.answers import SECURED

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}
KEPT = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
"""Their addresses change with them."""
NOT_KEPT = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


class Static:
    """The files, compressed once. Their addresses begin with `version`, so that those they import have it, too."""

    def __init__(self, found: Mapping[str, bytes], version: str) -> None:
        self._version = version
        self._files = {name: (data, gzip.compress(data, mtime=0)) for name, data in found.items()}

    def answer(self, request: Request, name: str) -> Response:
        """What is answered to a request for a file; to anybody, since there is nothing secret in it."""
        version, _, name = name.partition("/")
        found = self._files.get(name)
        if found is None or request.method not in ("GET", "HEAD"):
            return Response(status_code=404 if found is None else 405, headers=SECURED)
        plain, zipped = found
        kept = KEPT if version == self._version else NOT_KEPT
        media_type = TYPES["." + name.rpartition(".")[2]]
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(plain, headers=SECURED | kept, media_type=media_type)
        return Response(zipped, headers=SECURED | kept | {"Content-Encoding": "gzip"}, media_type=media_type)
