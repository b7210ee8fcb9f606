"""What a case is: one thing that somebody met from outside, and the value that is right, tried for real."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

Check = Callable[["Trial"], str]


class Trial(NamedTuple):
    """What a check is given: a scratch folder of its own, and whether it is to be brief."""

    folder: Path
    short: bool

    def pick(self, full: int, short: int) -> int:
        """An amount, by the length of the run."""
        return short if self.short else full


class Case(NamedTuple):
    """One thing that was wrong once; `right` says in words what must be seen."""

    letter: str
    right: str
    check: Check
    """-> what was seen. Raises AssertionError, with what was seen, where it is not right."""
    in_short: bool


class Outcome(NamedTuple):
    """What a case came to."""

    case: Case
    held: bool
    seen: str


class Chapter:
    """The cases of one subject, in their order."""

    def __init__(self) -> None:
        self.cases: list[Case] = []

    def case(self, letter: str, right: str, *, in_short: bool = True) -> Callable[[Check], Check]:
        """Register a check under its letter; one that takes more than some seconds stays out of the short form."""

        def register(check: Check) -> Check:
            self.cases.append(Case(letter, right, check, in_short))
            return check

        return register


def attempt(case: Case, short: bool) -> Outcome:
    """Try a case in a folder of its own."""
    with scratch() as folder:
        try:
            return Outcome(case, True, case.check(Trial(folder, short)))
        except Exception as error:  # noqa: BLE001  (a case that fails in any way is one that is not right)
            return Outcome(case, False, f"{type(error).__name__}: {error}")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    # Its path is short, as sockets want it.
    folder = Path(tempfile.mkdtemp(prefix="pl-outside-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
