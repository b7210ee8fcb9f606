"""The spool's folder: segments that are appended to, read from their begin, and deleted once all in them is in the
ledger. One thread appends, any may read."""

import os
import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ledger.domain.observation import Instant
from ledger.errors import StoreUnavailable
from ledger.files import open_own, own_folder, replacement
from ledger.spool.format import (
    FILE_HEAD_BYTES,
    SALT_BYTES,
    Damaged,
    FileHead,
    SpooledWebhook,
    file_head,
    record,
    records,
)
from ledger.spool.leftovers import REFUSED_SUFFIX, SUFFIX, read_from, take_over
from ledger.store.data_folder import sync_folder

SEGMENT_BYTES = 8 * 1_048_576
"""Room is free again once all of a segment is in the ledger."""
LEAST_SEGMENTS = 8
"""In so many at least the whole bound is divided."""


class SpoolFull(StoreUnavailable):
    """The spool has no room, or its disk."""


class Contents(NamedTuple):
    """What is in the spool and not in the ledger yet, as far as is known."""

    size: int
    """Bytes of files, as `spool_bytes` bounds them."""
    deliveries: int
    oldest_at: Instant | None


class Batch(NamedTuple):
    """Webhooks read one after another, and where the next one is."""

    webhooks: list[SpooledWebhook]
    path: Path
    end: int


class _Segment:
    """A file; `size` is how much of it is durable."""

    def __init__(self, path: Path, salt: bytes, size: int, left: int = 0) -> None:
        self.path = path
        self.salt = salt
        self.size = size
        self.read = FILE_HEAD_BYTES
        """Up to where it was handed out."""
        self.left = left
        """Its deliveries that are not known to be in the ledger."""


class SpoolFiles:
    """The segments in a folder of ours, of one ledger, at most so many bytes."""

    def __init__(self, folder: Path, max_bytes: int, ledger: str) -> None:
        """Look at what an earlier run left. Raises SettingsError, OSError."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._ledger = ledger
        self._segment_bytes = min(SEGMENT_BYTES, max(65_536, max_bytes // LEAST_SEGMENTS))
        self._lock = threading.Lock()
        self._active: tuple[_Segment, int] | None = None
        """The one that is appended to, and its descriptor."""
        self._oldest_at: Instant | None
        own_folder(folder, 0o700)
        sync_folder(folder.parent)
        paths = [path for suffix in (SUFFIX, REFUSED_SUFFIX) for path in folder.glob(f"*{suffix}")]
        self._next = max(map(_number, paths), default=0) + 1
        left = sorted(filter(None, (take_over(path, ledger) for path in paths)))
        self._segments = [_Segment(each.path, each.salt, each.size, each.deliveries) for each in left]
        self._oldest_at = left[0].first_at if left else None

    @property
    def max_bytes(self) -> int:
        return self._max_bytes

    @property
    def contents(self) -> Contents:
        """What is in it."""
        with self._lock:
            left = sum(each.left for each in self._segments)
            return Contents(self._size(), left, self._oldest_at if left else None)

    @property
    def paths(self) -> frozenset[Path]:
        """Its files."""
        with self._lock:
            return frozenset(each.path for each in self._segments)

    def is_read_up(self) -> bool:
        """Whether everything in it has been handed out."""
        with self._lock:
            return all(each.read >= each.size for each in self._segments)

    def _size(self) -> int:
        return sum(each.size for each in self._segments)

    def put_aside(self, webhooks: Sequence[SpooledWebhook]) -> Path:
        """Keep what cannot be taken for the next start, whatever the bound. Raises OSError."""
        salt = secrets.token_bytes(SALT_BYTES)
        # What is put aside once more must not take the name of the file that it is still read from.
        path = self._folder / f"{webhooks[0].delivery[:64]}-{salt.hex()[:8]}{REFUSED_SUFFIX}"
        head = file_head(FileHead(self._ledger, salt))
        with replacement(path) as file:
            file.write(head + b"".join(record(salt, each) for each in webhooks))
        sync_folder(self._folder)
        return path

    def append(self, webhooks: Sequence[SpooledWebhook]) -> tuple[int, SpoolFull | None]:
        """Write as many of them as there is room for, durably -> how many, and why the others are not."""
        kept = 0
        while kept < len(webhooks):
            try:
                number = self._append_to_active(webhooks[kept:])
            except SpoolFull as full:
                return kept, full
            except OSError as error:
                self._end_active()
                return kept, SpoolFull(f"the spool in {self._folder} cannot be written: {error.strerror or error}")
            kept += number
        return kept, None

    def _append_to_active(self, webhooks: Sequence[SpooledWebhook]) -> int:
        """Write the first of them, up to the end of a segment -> how many. Raises SpoolFull, OSError."""
        segment, descriptor = self._active or self._begin(webhooks[0])
        with self._lock:
            room = self._max_bytes - self._size()
        data, number, free = bytearray(), 0, self._segment_bytes - segment.size
        one = b""
        for webhook in webhooks:
            one = record(segment.salt, webhook)
            if len(data) + len(one) > room:
                break
            # One that is larger than a segment has it to itself.
            if len(data) + len(one) > free and (data or segment.size > FILE_HEAD_BYTES):
                break
            data += one
            number += 1
        if not number:
            if len(one) > room:
                raise SpoolFull(f"the spool is full: spool_bytes bounds it to {self._max_bytes:,} bytes")
            self._end_active()
            return 0
        try:
            _write(descriptor, data)
            os.fdatasync(descriptor)
        except OSError:
            # What was written of it is not acknowledged, and nothing follows it.
            os.ftruncate(descriptor, segment.size)
            raise
        with self._lock:
            segment.size += len(data)
            segment.left += number
            if self._oldest_at is None:
                self._oldest_at = webhooks[0].received_at
        return number

    def _begin(self, first: SpooledWebhook) -> tuple[_Segment, int]:
        """A new segment. Raises SpoolFull, OSError."""
        salt = secrets.token_bytes(SALT_BYTES)
        with self._lock:
            room = self._max_bytes - self._size() - FILE_HEAD_BYTES - len(record(salt, first))
        if room < 0:
            raise SpoolFull(f"the spool is full: spool_bytes bounds it to {self._max_bytes:,} bytes")
        # Files of several instances may come together.
        path = self._folder / f"{self._next:012d}-{salt.hex()[:8]}{SUFFIX}"
        descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            _write(descriptor, file_head(FileHead(self._ledger, salt)))
            os.fsync(descriptor)
            sync_folder(self._folder)
        except OSError:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        self._next += 1
        active = _Segment(path, salt, FILE_HEAD_BYTES), descriptor
        # Both at once: one that holds nothing and is not appended to is deleted.
        with self._lock:
            self._segments.append(active[0])
            self._active = active
        return active

    def _end_active(self) -> None:
        if self._active is not None:
            os.close(self._active[1])
            self._active = None

    def read(self, max_items: int, max_bytes: int) -> Batch | None:
        """The next webhooks, of one segment, up to the bounds but one at least; None where all were handed out.

        Raises OSError.
        """
        with self._lock:
            segment = next((each for each in self._segments if each.read < each.size), None)
            if segment is None:
                return None
            begin, size = segment.read, segment.size
        wanted = max_bytes
        while True:
            data = read_from(segment.path, begin, min(wanted, size - begin))
            batch = self._found(segment, data, begin, is_whole=begin + len(data) >= size, most=(max_items, max_bytes))
            if batch is not None:
                with self._lock:
                    segment.read = batch.end
                return batch
            wanted *= 4

    @staticmethod
    def _found(segment: _Segment, data: bytes, begin: int, *, is_whole: bool, most: tuple[int, int]) -> Batch | None:
        """The webhooks in some bytes of a segment; None where more bytes are needed to tell."""
        webhooks: list[SpooledWebhook] = []
        end = items = size = 0
        for found in records(segment.salt, data):
            if isinstance(found, Damaged):
                if found.is_tail and not is_whole:
                    break
                end = found.end
                continue
            items += found.webhook.body.count(b",") + 1
            size += len(found.webhook.body)
            if webhooks and (items > most[0] or size > most[1]):
                break
            webhooks.append(found.webhook)
            end = found.end
        if not end:
            return None
        return Batch(webhooks, segment.path, begin + end)

    def settle(self, batch: Batch) -> None:
        """What was read is in the ledger: segments that are so as a whole are deleted. Raises OSError."""
        with self._lock:
            for segment in self._segments:
                if segment.path == batch.path:
                    segment.left -= len(batch.webhooks)
            if batch.webhooks:
                left = any(each.left for each in self._segments)
                self._oldest_at = batch.webhooks[-1].received_at if left else None
            self._delete_done()

    def _delete_done(self) -> None:
        """Delete the segments of which all is in the ledger but for the one that is appended to."""
        active = None if self._active is None else self._active[0]
        done = [each for each in self._segments if each is not active and not each.left and each.read >= each.size]
        self._segments = [each for each in self._segments if each not in done]
        for segment in done:
            segment.path.unlink(missing_ok=True)

    def close_empty(self) -> None:
        """Delete the segment that is appended to as well, where all in it is in the ledger; by who appends alone."""
        with self._lock:
            if self._active is not None and not self._active[0].left:
                self._end_active()
            self._delete_done()

    def close(self) -> None:
        """Append no more."""
        self._end_active()


def _number(path: Path) -> int:
    number = path.stem.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) <= 12 else 0


def _write(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
