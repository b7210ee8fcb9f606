"""Storage that speaks as much of S3 as the archive asks for, in memory."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from ledger.archive_folder import Bucket

MADE = "Mon, 30 Nov 2026 12:00:00 GMT"


class Storage(ThreadingHTTPServer):
    """Objects by bucket and name; `refuses`: what is answered to a method instead, an HTTP status and S3's code."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.refuses: dict[str, tuple[int, str]] = {}

    def bucket(self, name: str, prefix: str = "") -> Bucket:
        """A bucket of it."""
        return Bucket(name, prefix, f"http://127.0.0.1:{self.server_port}", "eu-central-1")


@contextmanager
def serving() -> Iterator[Storage]:
    """Storage that is reached over HTTP."""
    storage = Storage()
    thread = threading.Thread(target=storage.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        storage.shutdown()
        storage.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Storage

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        parts = urlsplit(self.path)
        key, query, body = unquote(parts.path).strip("/"), parse_qs(parts.query, keep_blank_values=True), self._body()
        refused = self.server.refuses.get(self.command)
        if refused is not None:
            self._answer(refused[0], f"<Error><Code>{refused[1]}</Code><Message>refused</Message></Error>".encode())
        else:
            getattr(self, f"_{self.command.lower()}")(key, query, body)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return _signed_chunks(body) if "aws-chunked" in self.headers.get("content-encoding", "") else body

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        if size:
            self.rfile.readline()
        return chunk

    def _head(self, key: str, _: Any, __: bytes) -> None:
        found = self.server.objects.get(key)
        self._answer(404) if found is None else self._answer(200, found)

    def _get(self, key: str, query: dict[str, list[str]], _: bytes) -> None:
        if "list-type" in query:
            return self._list(key, query.get("prefix", [""])[0])
        found = self.server.objects.get(key)
        if found is None:
            return self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        if asked is None:
            return self._answer(200, found)
        first, last = map(int, asked.groups())
        part = f"bytes {first}-{min(last, len(found) - 1)}/{len(found)}"
        return self._answer(206, found[first : last + 1], {"Content-Range": part})

    def _list(self, bucket: str, prefix: str) -> None:
        start = f"{bucket}/{prefix}"
        items = "".join(
            f"<Contents><Key>{escape(key.removeprefix(f'{bucket}/'))}</Key><Size>{len(content)}</Size></Contents>"
            for key, content in sorted(self.server.objects.items())
            if key.startswith(start)
        )
        self._answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode())

    def _put(self, key: str, query: dict[str, list[str]], body: bytes) -> None:
        if "uploadId" in query:
            self.server.uploads[key][int(query["partNumber"][0])] = body
        else:
            self.server.objects[key] = body
        self._answer(200)

    def _post(self, key: str, query: dict[str, list[str]], _: bytes) -> None:
        if "uploads" in query:
            self.server.uploads[key] = {}
            name = "InitiateMultipartUploadResult"
        else:
            self.server.objects[key] = b"".join(part for _, part in sorted(self.server.uploads.pop(key).items()))
            name = "CompleteMultipartUploadResult"
        self._answer(200, f"<{name}><UploadId>one</UploadId></{name}>".encode())

    def _delete(self, key: str, _: Any, __: bytes) -> None:
        self.server.objects.pop(key, None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        sent = {"Content-Length": str(len(body)), "ETag": '"one"', "Last-Modified": MADE} | (headers or {})
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _signed_chunks(body: bytes) -> bytes:
    """What a client sends in chunks of its own, within HTTP's, with a digest at the end."""
    found = b""
    while True:
        head, _, body = body.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            return found
        found, body = found + body[:size], body[size + 2 :]
