"""Makes the embedded PostgreSQL's cluster: its folder, the ledger's role, and the database that this role owns."""

import shutil
import subprocess
from pathlib import Path

from ledger.errors import EmbeddedPostgresError, StoreFull
from ledger.store.data_folder import sync_folder
from ledger.store.postgres_config import DATABASE, ROLE
from ledger.store.system_user import SystemUser

INITDB = (
    "--username=postgres",
    "--auth=reject",
    "--encoding=UTF8",
    "--no-instructions",
    # PostgreSQL's own collation: an upgrade of the system's cannot break an index.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
SINGLE_USER = ("--single", "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic")


def make_cluster(cluster: Path, programs: Path, user: SystemUser, password: str, gate: int) -> None:
    """Make the cluster under a temporary name and rename it when it is complete: a crash leaves none or all of it.

    The superuser has no password and no way in; the ledger's role is an ordinary one. `gate` is a file descriptor
    that the programs inherit (see `EmbeddedPostgres`). Raises `StoreFull` or `EmbeddedPostgresError`.
    """
    draft = cluster.with_name("postgres.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    user.own(draft)
    _run([str(programs / "initdb"), *INITDB, "-D", str(draft)], "", user, gate, cluster.parent)
    statements = (
        f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'\n"
        f"GRANT pg_checkpoint, pg_monitor TO {ROLE}\n"
        f"CREATE DATABASE {DATABASE} OWNER {ROLE}\n"
    )
    single_user = [str(programs / "postgres"), *SINGLE_USER, "-D", str(draft), "postgres"]
    _run(single_user, statements, user, gate, cluster.parent)
    draft.rename(cluster)
    sync_folder(cluster.parent)


def failure(text: str, data_dir: Path) -> EmbeddedPostgresError | StoreFull:
    """What PostgreSQL said when it gave up, as our error; its last word is the reason."""
    words = [line for line in text.splitlines() if any(mark in line for mark in ("FATAL", "PANIC", "error:"))]
    reason = (words or text.splitlines() or ["it gave no reason"])[-1].strip()
    if "could not look up effective user ID" in text:
        return EmbeddedPostgresError(
            "PostgreSQL's initdb needs an entry in /etc/passwd for the user that it runs as, and this user has none.\n"
            "Add one, or run as a user that has one, or set database_url (docs/operations.md, `Containers`)."
        )
    if "No space left on device" in text and "shared memory" not in text:
        return StoreFull(f"The disk of {data_dir} is full ({reason}).\nMake room there, then start again.")
    return EmbeddedPostgresError(
        f"The embedded PostgreSQL did not start: {reason}\n"
        f"See postgres.log in {data_dir}; database_url can name another server."
    )


def _run(command: list[str], text: str, user: SystemUser, gate: int, data_dir: Path) -> None:
    arguments = {name: value for name, value in user.popen_arguments().items() if name != "stdin"}
    done = subprocess.run(
        command,
        input=text.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[gate],
        check=False,
        **arguments,
    )
    if done.returncode != 0:
        raise failure(done.stderr.decode(errors="replace"), data_dir)
