"""What is alive of a PostgreSQL cluster: its postmaster, and processes that a killed postmaster left behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

# Lines of postmaster.pid, from 0 (PostgreSQL's src/include/utils/pidfile.h).
LINE_PID = 0
LINE_SOCKET_FOLDER = 4
LINE_STATUS = 7


@dataclass(frozen=True)
class Postmaster:
    """A living postmaster of the cluster, as its postmaster.pid tells; `status` is empty until it wrote one."""

    process: psutil.Process
    socket_folder: str
    status: str

    @property
    def ready(self) -> bool:
        """Whether it says that it takes connections (recovery is over, no shutdown has begun)."""
        return self.status == "ready"


def find(cluster: Path) -> Postmaster | None:
    """The postmaster that postmaster.pid names, if it lives and is this cluster's; a stale file gives None."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        process = psutil.Process(int(lines[LINE_PID]))
    except (FileNotFoundError, NotADirectoryError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    if not _belongs(process, cluster):
        return None
    return Postmaster(process, _line(lines, LINE_SOCKET_FOLDER), _line(lines, LINE_STATUS))


def members(cluster: Path) -> Iterator[psutil.Process]:
    """Every living process of the cluster that we may look at: postmaster, backends, workers."""
    return (process for process in psutil.process_iter() if _belongs(process, cluster))


def _belongs(process: psutil.Process, cluster: Path) -> bool:
    """Each process of PostgreSQL works in its cluster's folder and none leaves it; its arguments it rewrites."""
    try:
        return (
            process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == cluster
        )
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _line(lines: list[str], number: int) -> str:
    return lines[number].strip() if len(lines) > number else ""
