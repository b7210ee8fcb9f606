"""The virtual clock of a simulated world: what is to happen, at which instant, in which order."""

from collections.abc import Callable
from heapq import heappop, heappush

Task = Callable[[], None]


class Agenda:
    """Tasks by instant (seconds since the start); those of one instant run in the order in which they were put."""

    def __init__(self) -> None:
        self.now = 0.0
        self._tasks: list[tuple[float, int, Task]] = []
        self._count = 0
        self.soon: Callable[[Task], None] = lambda task: self.at(self.now, task)
        """Puts a task at this very instant. Who runs the agenda by a real clock sets its own."""

    def at(self, t: float, task: Task) -> None:
        """Put a task; an instant that has passed means now."""
        self._count += 1
        heappush(self._tasks, (max(t, self.now), self._count, task))

    def next_at(self) -> float | None:
        """The instant of the next task, if there is one."""
        return self._tasks[0][0] if self._tasks else None

    def run(self, to: float) -> None:
        """Run every task up to and including `to`, with `now` at the instant of each."""
        while self._tasks and self._tasks[0][0] <= to:
            self.now, _, task = heappop(self._tasks)
            task()
        self.now = max(self.now, to)
