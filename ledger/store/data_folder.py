"""The data folder: held by one running service at a time, and home of the secrets made at the first start."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ledger.errors import DataFolderInUse, LedgerError, SettingsError, StoreFull
from ledger.files import Exposed, check_folder, check_links, exposed, open_own, permissions, read_text

SECRET_FILES = ("*.key", "*.secret", "*.password")


class DataFolder:
    """A folder of mode 0700 with a lock that ends with its holder, however that one dies.

    `with DataFolder(path):` claims and releases. The lock is advisory and of this machine (`flock`).
    """

    def __init__(self, path: Path) -> None:
        self._named = path.absolute()
        self.path = path.resolve()
        self._lock: int | None = None

    def claim(self) -> None:
        """Create the folder if need be and hold it until `release`.

        Raises `DataFolderInUse` naming the holder, `SettingsError` when the folder cannot be used, `StoreFull`.
        """
        if self._lock is not None:
            return
        self.create()
        try:
            lock = open_own(self.path / "lock", os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise unusable(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise unusable(self.path, error) from error
            raise DataFolderInUse(
                f"The data folder {self.path} is in use by the service with process id {holder or 'unknown'}.\n"
                "Stop that one, or give this one its own data_dir."
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def release(self) -> None:
        """Let the folder go; nothing happens when it is not held."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def create(self) -> None:
        """Make the folder, mode 0700, if it is not there; one that is there must be ours, or root's.

        Raises `SettingsError` or `StoreFull`.
        """
        try:
            check_links(self._named)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            if not self.path.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(self.path))
            check_folder(self.path)
        except OSError as error:
            raise unusable(self.path, error) from error

    def secret(self, name: str, make: Callable[[], str]) -> str:
        """The text of the secret file `name`; when there is none, what `make` gives, stored with mode 0600 first.

        A crash leaves the whole file or none; of two calls at once both get the same secret.
        """
        file = self.path / name
        try:
            if not file.exists():
                self._store(file, make())
            return read_text(file)
        except OSError as error:
            raise unusable(file, error) from error

    def exposed(self) -> list[Exposed]:
        """What of it other users can reach. Raises `SettingsError`."""
        try:
            status = self.path.stat()
            found = [exposed(file) for pattern in SECRET_FILES for file in sorted(self.path.glob(pattern))]
        except OSError as error:
            raise unusable(self.path, error) from error
        if status.st_mode & stat.S_IWGRP:
            found.insert(0, Exposed(self.path, permissions(status), f"chmod g-w {self.path}"))
        for parent in self.path.parents:
            mode = parent.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                found.append(Exposed(parent, permissions(parent.stat()), f"chmod o-w {parent}, or another data_dir"))
        return [each for each in found if each is not None]

    def _store(self, file: Path, secret: str) -> None:
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(secret + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            # A link, unlike a rename, never replaces what another start has stored meanwhile.
            with suppress(FileExistsError):
                os.link(draft, file)
        finally:
            draft.unlink(missing_ok=True)
        sync_folder(self.path)

    def __enter__(self) -> Self:
        self.claim()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def sync_folder(path: Path) -> None:
    """Make the names in the folder durable, as fsync of a file alone does not."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unusable(path: Path, error: OSError) -> LedgerError:
    """What an error of the file system at `path` means to the operator."""
    reason = error.strerror or str(error)
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"The disk of {path} is full: {reason}.\nMake room there, then start again.")
    return SettingsError(
        f"{path} cannot be used: {reason}.\nSet data_dir (PRESENCE_LEDGER_DATA_DIR) to a folder that this user may "
        "write to, or fix its permissions."
    )
