"""Users who come and go, and what a WuKongIM v2.2 says of it: webhook bodies with counts after the change."""

import random
from collections.abc import Iterable, Iterator

DEVICE_FLAGS = (0, 1)
SECOND_DEVICE_SHARE = 0.2


class Crowd:
    """The users of one node. They toggle: an online, later its offline; some have a second device for a while."""

    def __init__(self, node: int, users: int, seed: int = 1) -> None:
        self._random = random.Random(f"{seed}-{node}")
        self.uids = [f"{self._random.getrandbits(128):032x}" for _ in range(users)]
        self._open: list[dict[int, int]] = [{} for _ in range(users)]
        self._conn_id = 0

    def first_body(self) -> bytes:
        """Everybody comes online, in one array."""
        return as_body(self._opens(number, 0) for number in range(len(self.uids)))

    def first_bodies(self, items: int) -> Iterator[bytes]:
        """Everybody comes online, in arrays of so many."""
        for start in range(0, len(self.uids), items):
            yield as_body(self._opens(number, 0) for number in range(start, min(start + items, len(self.uids))))

    def body(self, items: int) -> bytes:
        """The next so many changes of users at random, as a webhook's body."""
        return as_body(self.items(items))

    def items(self, number: int) -> list[str]:
        """The next so many changes of users at random; none is ever said twice."""
        users = len(self.uids)
        return [self._change(int(self._random.random() * users)) for _ in range(number)]

    def _change(self, number: int) -> str:
        devices = self._open[number]
        if not devices:
            return self._opens(number, DEVICE_FLAGS[self._random.random() < SECOND_DEVICE_SHARE])
        if len(devices) < len(DEVICE_FLAGS) and self._random.random() < SECOND_DEVICE_SHARE:
            return self._opens(number, next(flag for flag in DEVICE_FLAGS if flag not in devices))
        flag = next(iter(devices))
        conn_id = devices.pop(flag)
        return f"{self.uids[number]}-{flag}-0-{conn_id}-0-{len(devices)}"

    def _opens(self, number: int, flag: int) -> str:
        self._conn_id += 1
        self._open[number][flag] = self._conn_id
        return f"{self.uids[number]}-{flag}-1-{self._conn_id}-1-{len(self._open[number])}"


def as_body(items: Iterable[str]) -> bytes:
    """The array of a webhook; no uid here needs an escape."""
    return ('["' + '","'.join(items) + '"]').encode()
