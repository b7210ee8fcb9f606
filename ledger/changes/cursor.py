"""A cursor: up to where somebody has been told, so that they can go on from there, over restarts and instances."""

import re
from typing import NamedTuple

from ledger.domain.observation import Instant

_TEXT = re.compile(
    r"(?P<epoch>[0-9a-f-]{1,64})\.(?P<position>\d{1,18})\.(?P<at>\d{1,18})(\.(?P<lists>\d{1,18}))?", re.ASCII
)


class Cursor(NamedTuple):
    """The ledger's epoch, and the position and the instant up to which everything has been told."""

    epoch: str
    position: int
    at: Instant
    lists: int = 0
    """The number of the change of watch lists up to which a list's stream has been told; 0 where it is of none."""

    @property
    def text(self) -> str:
        """As it is handed out; opaque to whoever gets it."""
        return f"{self.epoch}.{self.position}.{self.at}" + (f".{self.lists}" if self.lists else "")


def parse(text: str) -> Cursor | None:
    """The cursor that was handed out as this text; None where no cursor of ours reads so."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    return Cursor(match["epoch"], int(match["position"]), int(match["at"]), int(match["lists"] or 0))
