"""Reads, writes and removes the archive's files, whether they are in a folder or in a bucket: the one place that does.

What goes wrong is an OSError, a FileNotFoundError where there is no such file.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from pyarrow import fs

from ledger.archive_folder import Bucket, Folder
from ledger.store.archive.manifest import PARTIAL

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 30.0
ATTEMPTS = 3
"""At each request to a bucket."""

Write = Callable[[memoryview], int]
"""Takes a part of what it is given -> how many bytes."""


class Storage(Protocol):
    """Files by their names."""

    def make(self) -> None:
        """Make the folder, where that is ours to do."""

    def size(self, name: str) -> int:
        """Of a file, in bytes."""

    def opened(self, name: str) -> AbstractContextManager[Any]:
        """A file to be read from its beginning to its end."""

    def parquet(self, name: str) -> pq.ParquetFile:
        """A file to be read group by group; what is not as it was written is not read."""

    def new(self, name: str) -> AbstractContextManager[Write]:
        """A file that is whole and durable under its name at the end, or not there where that is not reached."""

    def remove(self, name: str) -> None:
        """Have no such file, be it whole or not."""

    def names(self) -> list[str]:
        """Of all files that are there, be they ours or not; none where there is no folder."""


def of(folder: Folder) -> Storage:
    """The storage of a folder."""
    return _InBucket(folder) if isinstance(folder, Bucket) else _OnDisk(folder)


class _OnDisk:
    """Readable for the owner alone, written aside and renamed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def size(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def opened(self, name: str) -> AbstractContextManager[Any]:
        return (self._folder / name).open("rb")

    def parquet(self, name: str) -> pq.ParquetFile:
        return pq.ParquetFile(self._folder / name, page_checksum_verification=True)

    @contextmanager
    def new(self, name: str) -> Iterator[Write]:
        aside = self._folder / f"{name}{PARTIAL}"
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            try:
                yield partial(os.write, descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            aside.rename(self._folder / name)
            self._sync()
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        for each in (self._folder / name, self._folder / f"{name}{PARTIAL}"):
            each.unlink(missing_ok=True)

    def names(self) -> list[str]:
        return [path.name for path in self._folder.glob("*")]


class _InBucket:
    """An object is there once its upload was completed, and durable then."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._files = _filesystem(bucket.endpoint, bucket.region)

    def make(self) -> None:
        """Buckets, with their rights and rules, are made by those who run the storage."""

    def size(self, name: str) -> int:
        with self._files.open_input_file(self._key(name)) as file:
            size: int = file.size()
            return size

    def opened(self, name: str) -> AbstractContextManager[Any]:
        stream: AbstractContextManager[Any] = self._files.open_input_stream(self._key(name))
        return stream

    def parquet(self, name: str) -> pq.ParquetFile:
        return pq.ParquetFile(self._key(name), filesystem=self._files, page_checksum_verification=True)

    @contextmanager
    def new(self, name: str) -> Iterator[Write]:
        stream = self._files.open_output_stream(self._key(name))
        try:
            yield stream.write
        except BaseException:
            # There is no other way to give an upload up than to end it; what there is then is nothing whole.
            with suppress(OSError):
                stream.close()
                self.remove(name)
            raise
        stream.close()

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self._files.delete_file(self._key(name))

    def names(self) -> list[str]:
        there = self._files.get_file_info(fs.FileSelector(self._bucket.path, allow_not_found=True))
        return [each.base_name for each in there if each.is_file]

    def _key(self, name: str) -> str:
        return f"{self._bucket.path}/{name}"


@cache
def _filesystem(endpoint: str, region: str) -> fs.S3FileSystem:
    parts = urlsplit(endpoint)
    return fs.S3FileSystem(
        endpoint_override=parts.netloc or None,
        scheme=parts.scheme or None,
        region=region or None,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
