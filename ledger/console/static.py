"""The files that the pages load: our scripts and styles, and uPlot; nothing is loaded from elsewhere."""

import gzip
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from ledger.console.answers import SECURED

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}
KEPT = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
"""Their addresses change with them."""
NOT_KEPT = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


@cache
def static_files() -> Mapping[str, bytes]:
    """The files that pages load, by their name below /console/VERSION/."""
    folder = files("ledger.console") / "static"
    found = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    return found | {f"vendor/{each.name}": each.read_bytes() for each in (folder / "vendor").iterdir()}


def version_of(found: Mapping[str, bytes]) -> str:
    """What tells these files from those of another version."""
    return blake2b(b"".join(found[name] for name in sorted(found)), digest_size=6).hexdigest()


@cache
def _zipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


class Static:
    """The files. Their addresses begin with `version`, so that those they import have it, too."""

    def __init__(self, found: Mapping[str, bytes], version: str) -> None:
        self._version = version
        self._files = found

    def answer(self, request: Request, name: str) -> Response:
        """What is answered to a request for a file; to anybody, since there is nothing secret in it."""
        version, _, name = name.partition("/")
        found = self._files.get(name)
        if found is None or request.method not in ("GET", "HEAD"):
            return Response(status_code=404 if found is None else 405, headers=SECURED)
        kept = KEPT if version == self._version else NOT_KEPT
        media_type = TYPES["." + name.rpartition(".")[2]]
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return Response(found, headers=SECURED | kept, media_type=media_type)
        return Response(_zipped(found), headers=SECURED | kept | {"Content-Encoding": "gzip"}, media_type=media_type)
