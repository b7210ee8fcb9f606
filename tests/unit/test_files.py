"""Files that hold secrets: no link is followed, nobody else's is taken, and what others can reach is told."""

import os
import socket
from pathlib import Path

import pytest

from ledger.files import (
    Exposed,
    NotOurs,
    check_folder,
    check_links,
    exposed,
    open_own,
    own_folder,
    read_text,
    replacement,
)

SOMEBODY = 54321

CREATE = os.O_RDWR | os.O_CREAT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own = tmp_path / "own"
    own_folder(own, 0o700)
    return own


def as_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on we are another user than the owner of the files, who is not root either."""
    monkeypatch.setattr("ledger.files.ROOT", SOMEBODY)
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)


def write(file: Path, text: str = "text") -> Path:
    file.write_text(text)
    return file


def test_a_file_is_made_for_nobody_else_and_read_again(folder: Path) -> None:
    os.close(open_own(folder / "file", CREATE))
    assert (folder / "file").stat().st_mode & 0o777 == 0o600
    write(folder / "file", " text\n")
    assert read_text(folder / "file") == "text"
    own_folder(folder, 0o700)


def test_no_link_is_followed(folder: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "target")
    (folder / "link").symlink_to(target)
    (folder / "nowhere").symlink_to(tmp_path / "nothing")
    (folder / "folder").symlink_to(tmp_path, target_is_directory=True)
    for name in ("link", "nowhere"):
        with pytest.raises(NotOurs, match=f"{name} is a link"):
            open_own(folder / name, CREATE)
        with pytest.raises(NotOurs, match=f"{name} is a link"):
            read_text(folder / name)
    for look in (check_folder, lambda path: own_folder(path, 0o700), lambda path: read_text(path / "target")):
        with pytest.raises(NotOurs, match="folder is a link"):
            look(folder / "folder")
    assert target.read_text() == "text"
    assert not (tmp_path / "nothing").exists()


def test_what_has_another_name_is_not_written(folder: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "target")
    (folder / "hard").hardlink_to(target)
    assert read_text(folder / "hard") == "text"
    with pytest.raises(NotOurs, match="has a second name"):
        open_own(folder / "hard", os.O_WRONLY)


def test_what_is_no_file_is_neither_taken_nor_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
    (folder / "inner").mkdir()
    for name in ("pipe", "inner"):
        with pytest.raises(NotOurs, match=f"{name} is not a regular file"):
            read_text(folder / name)
    with pytest.raises(OSError, match="socket"):
        read_text(folder / "socket")


def test_what_is_missing_is_named_whole(folder: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        read_text(folder / "missing")
    assert missing.value.filename == str(folder / "missing")


def test_somebody_elses_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "file")
    (tmp_path / "link").symlink_to(folder)
    check_links(tmp_path / "link" / "nothing")
    as_somebody(monkeypatch)
    with pytest.raises(NotOurs, match=r"own belongs to .*, who may have put anything into it"):
        check_folder(folder)
    with pytest.raises(NotOurs, match="file belongs to"):
        open_own(folder / "file", os.O_RDONLY)
    with pytest.raises(NotOurs, match=r"link is a link that .* has put there"):
        check_links(tmp_path / "link" / "nothing")
    # The owner's own files in their own folder are read, as root does for them.
    assert read_text(folder / "file") == "text"


def test_a_folder_that_everybody_can_write_is_refused_unless_it_is_empty(folder: Path) -> None:
    folder.chmod(0o777)
    check_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    write(folder / "planted")
    folder.chmod(0o777)
    with pytest.raises(NotOurs, match=r"can be written to by any user \(mode 0777\)"):
        check_folder(folder)


def test_a_file_is_replaced_whole_and_a_link_in_its_place_too(folder: Path, tmp_path: Path) -> None:
    target = write(tmp_path / "target")
    (folder / "file").symlink_to(target)
    with replacement(folder / "file") as file:
        file.write(b"new")
    assert (target.read_text(), (folder / "file").read_text()) == ("text", "new")
    assert (folder / "file").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ZeroDivisionError), replacement(folder / "file") as file:
        raise ZeroDivisionError
    assert [each.name for each in folder.iterdir()] == ["file"]


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o700, False), (0o640, True), (0o604, True)])
def test_what_others_can_reach_is_told(folder: Path, mode: int, others: bool) -> None:
    file = write(folder / "file")
    file.chmod(mode)
    assert exposed(file) == (Exposed(file, f"{mode:04o}", f"chmod 600 {file}") if others else None)
    assert exposed(folder / "missing") is None
