"""The terminal that the service was started in: whether there was one, and whether it is gone."""

import os
import signal

CONTROLLING = "/dev/tty"


class Terminal:
    """That of the process when this is made; none where its end is to be ignored, as `nohup` has it."""

    def __init__(self) -> None:
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def is_gone(self) -> bool:
        """Whether it has been closed; never where there was none."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open(CONTROLLING, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
