"""The data folder: one holder at a time, secrets made once, and folders that a system user may pass through."""

import errno
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from ledger.errors import DataFolderInUse, EmbeddedPostgresError, SettingsError, StoreFull
from ledger.store import system_user
from ledger.store.data_folder import DataFolder, unusable
from ledger.store.embedded import EmbeddedPostgres
from ledger.store.system_user import SystemUser, let_pass, programs

HOLD = "import sys; from pathlib import Path; from ledger.store.data_folder import DataFolder\n"
HOLD += "folder = DataFolder(Path(sys.argv[1])); folder.claim(); print('held', flush=True); sys.stdin.read()"

STRANGER = SystemUser(uid=54321, gid=54321, name="stranger", switch=True)

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as another user")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def enters(folder: Path, user: SystemUser) -> bool:
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)]
    done = subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **user.popen_arguments())
    return done.returncode == 0


def test_a_claimed_folder_is_private_and_can_be_claimed_again_once_released(data_dir: Path) -> None:
    with DataFolder(data_dir) as folder:
        folder.claim()
        assert mode(data_dir) == 0o700
    with DataFolder(data_dir):
        assert (data_dir / "lock").read_text() == f"{os.getpid()}\n"
    assert (data_dir / "lock").read_text() == ""
    folder.release()


def test_a_folder_in_use_names_its_holder_and_is_free_when_it_is_killed(data_dir: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataFolderInUse, match=rf"process id {holder.pid}\.\nStop that one"):
            DataFolder(data_dir).claim()
        holder.send_signal(signal.SIGKILL)
    with DataFolder(data_dir):
        assert (data_dir / "lock").read_text() == f"{os.getpid()}\n"


def test_a_folder_that_cannot_be_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with pytest.raises(SettingsError, match="data_dir"):
            DataFolder(path).claim()


def test_a_full_disk_is_not_a_bad_setting(tmp_path: Path) -> None:
    assert isinstance(unusable(tmp_path, OSError(errno.ENOSPC, "No space left on device")), StoreFull)


def test_a_secret_is_made_once_and_kept_private(data_dir: Path) -> None:
    numbers = count(1)
    with DataFolder(data_dir) as folder:
        assert folder.secret("a.key", lambda: f"made {next(numbers)}") == "made 1"
        assert folder.secret("a.key", lambda: f"made {next(numbers)}") == "made 1"
    assert mode(data_dir / "a.key") == 0o600
    assert sorted(path.name for path in data_dir.iterdir()) == ["a.key", "lock"]


def test_two_that_make_a_secret_at_once_get_the_same(data_dir: Path) -> None:
    numbers = count(1)
    folder = DataFolder(data_dir)
    folder.create()

    def make() -> str:
        # Somebody else was quicker, after we had seen that there is none.
        number = next(numbers)
        if number == 1:
            with ThreadPoolExecutor(1) as other:
                other.submit(folder.secret, "a.key", make).result()
        return f"made {number}"

    assert folder.secret("a.key", make) == "made 2"


@pytest.mark.parametrize("name", ["lock", "postgres.lock", "a.key"])
def test_links_in_it_are_refused_and_what_they_lead_to_is_left_alone(name: str, tmp_path: Path) -> None:
    target, data_dir = tmp_path / "target", tmp_path / "data"
    target.write_text("somebody's\n")
    data_dir.mkdir(mode=0o700)
    (data_dir / name).symlink_to(target)

    def work() -> None:
        with DataFolder(data_dir) as folder:
            folder.secret("a.key", lambda: "made")
            EmbeddedPostgres(data_dir).start()

    with pytest.raises(SettingsError, match=f"{name} is a link"):
        work()
    assert target.read_text() == "somebody's\n"


def test_one_that_everybody_can_write_is_refused(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    (data_dir / "admin.key").write_text("planted")
    data_dir.chmod(0o777)
    with pytest.raises(SettingsError, match=r"can be written to by any user \(mode 0777\)"):
        DataFolder(data_dir).claim()
    assert [each.name for each in data_dir.iterdir()] == ["admin.key"]


@only_root
def test_one_of_another_user_is_refused_to_root_too(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "admin.key").write_text("planted")
    os.chown(data_dir, STRANGER.uid, STRANGER.gid)
    with pytest.raises(SettingsError, match="belongs to the user with id 54321"):
        DataFolder(data_dir).claim()
    os.chown(data_dir, 0, 0)
    os.chown(data_dir / "admin.key", STRANGER.uid, STRANGER.gid)
    with DataFolder(data_dir) as folder, pytest.raises(SettingsError, match=r"admin\.key belongs to the user with id"):
        folder.secret("admin.key", lambda: "ours")


@only_root
def test_a_link_that_another_user_put_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    data_dir = tmp_path / "data"
    data_dir.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with DataFolder(data_dir):
        assert (tmp_path / "elsewhere" / "lock").exists()
    os.chown(data_dir, STRANGER.uid, STRANGER.gid, follow_symlinks=False)
    with pytest.raises(SettingsError, match="is a link that the user with id 54321 has put there"):
        DataFolder(data_dir).claim()


def test_what_other_users_can_reach_is_told(data_dir: Path) -> None:
    with DataFolder(data_dir) as folder:
        folder.secret("seal.key", lambda: "made")
        assert folder.exposed() == []
        (data_dir / "seal.key").chmod(0o644)
        data_dir.chmod(0o770)
        assert [(each.path.name, each.mode) for each in folder.exposed()] == [
            (data_dir.name, "0770"),
            ("seal.key", "0644"),
        ]
        data_dir.chmod(0o700)


@only_root
def test_one_user_may_pass_and_nobody_else(data_dir: Path) -> None:
    inner = data_dir / "private" / "inner"
    inner.mkdir(parents=True)
    for folder in (data_dir, data_dir / "private", inner):
        folder.chmod(0o700)
    other = SystemUser(uid=54322, gid=54322, name="other", switch=True)
    assert not enters(inner, STRANGER)

    let_pass(inner, STRANGER)
    let_pass(inner, STRANGER)

    assert enters(inner, STRANGER)
    assert not enters(inner, other)
    let_pass(inner, other)
    assert enters(inner, STRANGER)
    assert enters(inner, other)
    assert mode(inner) & (stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP) == 0


@only_root
def test_without_access_control_lists_only_our_own_folder_is_opened(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    (data_dir / "inner").mkdir(parents=True)
    let_pass(data_dir, STRANGER)
    monkeypatch.setattr(os, "setxattr", unsupported)
    (data_dir / "inner").chmod(0o700)
    let_pass(data_dir / "inner", STRANGER)
    assert mode(data_dir / "inner") == 0o701

    data_dir.chmod(0o700)
    with pytest.raises(EmbeddedPostgresError, match=rf"cannot pass through {data_dir} .its file system"):
        let_pass(data_dir / "inner", STRANGER)


@only_root
def test_programs_that_the_user_cannot_reach_are_copied_for_him(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_runs = system_user._runs
    monkeypatch.setattr(
        system_user, "_runs", lambda folder, user: data_dir in folder.parents and really_runs(folder, user)
    )
    data_dir.mkdir(parents=True)
    let_pass(data_dir, STRANGER)

    found = programs(system_user.VERSION, STRANGER, data_dir / "programs")

    shown = subprocess.run(
        [found / "initdb", "--version"], check=True, stdout=subprocess.PIPE, text=True, **STRANGER.popen_arguments()
    )
    assert shown.stdout.startswith(f"initdb (PostgreSQL) {system_user.VERSION}.")
    assert data_dir in found.parents
    made = (found / "initdb").stat().st_ino
    assert programs(system_user.VERSION, STRANGER, data_dir / "programs") == found
    assert (found / "initdb").stat().st_ino == made


@only_root
def test_the_owner_of_a_cluster_goes_on_running_it(data_dir: Path) -> None:
    data_dir.mkdir(parents=True)
    os.chown(data_dir, 54321, 54321)
    assert system_user.postgres_user(data_dir) == SystemUser(54321, 54321, "54321", switch=True)
