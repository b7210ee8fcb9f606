"""Opens files of folders that hold secrets: no link is followed, and nothing that another user put there is taken.

A service may run as root, on a machine with other users. Any of them who can write where its folder is to be could put
in keys of their own, or links to files that we would then read out or overwrite.
"""

import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ledger.errors import SettingsError

ROOT = 0
PRIVATE = 0o600
MAX_TEXT_BYTES = 65_536
"""In bytes; a secret is far shorter, and anything else in its place must not fill the memory."""

_NEVER_FOLLOWED = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Nor does opening a pipe wait for a writer."""

_FOLDER = os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
"""Where there is O_PATH, a folder need not be listed to open what is in it."""


class NotOurs(SettingsError):
    """A file or folder is a link, or another user's, or any user may write to it."""


class Exposed(NamedTuple):
    """Something that holds secrets and that other users can reach; `way_out` is what to do."""

    path: Path
    mode: str
    way_out: str


def open_own(path: Path, flags: int) -> int:
    """The descriptor of a file of ours. Raises NotOurs, OSError."""
    return _opened(path, flags, frozenset({os.geteuid(), ROOT}))


def read_text(path: Path) -> str:
    """The text of a file of ours, or of the user's whose folder it is in. Raises NotOurs, OSError."""
    owners = frozenset({os.geteuid(), ROOT, path.parent.stat().st_uid})
    with os.fdopen(_opened(path, os.O_RDONLY, owners), "rb") as file:
        return file.read(MAX_TEXT_BYTES).decode(errors="replace").strip()


def own_folder(path: Path, mode: int) -> None:
    """Make a folder, or see that the one which is there is ours and no link. Raises NotOurs, OSError."""
    try:
        path.mkdir(mode=mode)
    except FileExistsError:
        check_folder(path)


def check_folder(path: Path) -> None:
    """Raises NotOurs where another user could have put something into this folder, OSError."""
    with _descriptor(path) as folder:
        status = os.fstat(folder)
    if status.st_uid not in {os.geteuid(), ROOT}:
        raise NotOurs(
            f"{path} belongs to {_user(status.st_uid)}, who may have put anything into it.\n"
            "Run this as that user, or give it its own data_dir; if the folder is yours, change its owner."
        )
    if status.st_mode & stat.S_IWOTH and not _close_empty(path, status):
        raise NotOurs(
            f"{path} can be written to by any user (mode {permissions(status)}), who may have put anything into it.\n"
            f"Look at what is in it, then run `chmod o-w {path}`, or give the service its own data_dir."
        )


def check_links(path: Path) -> None:
    """Raises NotOurs where a link of another user leads to this path, OSError."""
    for each in (path, *path.parents):
        try:
            status = each.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISLNK(status.st_mode) and status.st_uid not in {os.geteuid(), ROOT}:
            raise NotOurs(
                f"{each} is a link that {_user(status.st_uid)} has put there.\n"
                "Remove it, or give the service its own data_dir."
            )


@contextmanager
def replacement(path: Path, mode: int = PRIVATE) -> Iterator[BinaryIO]:
    """A file that takes the name of another when all went well, durable by then; a link at that name is replaced.

    Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:200]}.", dir=path.parent)
    draft = Path(name)
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "wb+") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)


def exposed(path: Path) -> Exposed | None:
    """The file, if others than its owner can read it or write into it; None as well where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return Exposed(path, permissions(status), f"chmod 600 {path}")


def _close_empty(path: Path, status: os.stat_result) -> bool:
    """Close a folder of ours to others if it is still empty, such as a file system just mounted."""
    if status.st_uid != os.geteuid() or any(path.iterdir()):
        return False
    path.chmod(0o700)
    return not any(path.iterdir())


def permissions(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def _opened(path: Path, flags: int, owners: frozenset[int]) -> int:
    with _descriptor(path.parent) as folder:
        try:
            descriptor = os.open(path.name, flags | _NEVER_FOLLOWED, PRIVATE, dir_fd=folder)
        except OSError as error:
            raise _link(path) or OSError(error.errno, error.strerror, str(path)) from error
    try:
        _check_file(path, os.fstat(descriptor), owners, is_written=bool(flags & (os.O_WRONLY | os.O_RDWR)))
    except BaseException:  # whatever ends it, nobody else holds the descriptor
        os.close(descriptor)
        raise
    return descriptor


def _check_file(path: Path, status: os.stat_result, owners: frozenset[int], *, is_written: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotOurs(f"{path} is not a regular file.\nMove it away, then try again.")
    if status.st_uid not in owners:
        raise NotOurs(
            f"{path} belongs to {_user(status.st_uid)}, who may have put it there.\n"
            "Look at what it is; if it is yours, change its owner, else move it away."
        )
    if is_written and status.st_nlink > 1:
        raise NotOurs(
            f"{path} has a second name (a hard link), whose content would change too.\nMove it away, then try again."
        )


@contextmanager
def _descriptor(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, _FOLDER | _NEVER_FOLLOWED)
    except OSError as error:
        raise _link(folder) or error from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _link(path: Path) -> NotOurs | None:
    """What it means that a path cannot be opened, if it is because it is a link."""
    if not path.is_symlink():
        return None
    return NotOurs(f"{path} is a link, and links are not followed there.\nPut what it stands for in its place.")


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with id {number}"
