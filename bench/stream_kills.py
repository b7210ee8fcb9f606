"""Does every stream end with what is answered, whichever process is killed while users come and go?"""

import random
import time
from dataclasses import replace
from pathlib import Path

from bench import _service
from bench._flipping import flipping
from bench._flips import Flips, answers, differing, head
from bench._postgres import server
from bench._readers import Orders, Readers
from bench._report import Bar, Options, Report, main, number, percentile, progress

BODY_ITEMS = 20
NAMED = 100
EVERYBODY = 2
PAUSE_SECONDS = 0.02
BACK_SECONDS = 60.0
TELL_SECONDS = 60.0
POST_SECONDS = 0.1
"""Between two bodies of a node, on average."""
VICTIMS = ("service", "front")


def measure(options: Options) -> Report:
    """Readers go on from their cursors through all kills; in the end each is held against what is answered."""
    kills, streams = options.pick(50, 2), options.pick(200, 5)
    users, between = options.pick(4_000, 400), (0.5, 4.0) if not options.short else (0.3, 1.0)
    choice = random.Random(options.seed)
    flips = Flips(users, options.seed)
    watched: list[list[str] | None] = [choice.sample(flips.uids, NAMED) for _ in range(streams)]
    watched += [None] * EVERYBODY
    with (
        server(replace(options, settings={})) as postgres,
        postgres.database() as url,
        _service.running_with_front(postgres.folder / "stream_kills", url) as service,
        flipping(service, flips, BODY_ITEMS, POST_SECONDS * options.pick(1, 4)) as stop,
    ):
        readers = Readers(
            Orders(service.front_port, _service.KEY, watched, keep=False, into=str(Path(postgres.folder) / "told"))
        )
        try:
            readers.start()
            back: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
            for count in range(kills):
                time.sleep(choice.uniform(*between))
                victim = VICTIMS[count % 2]
                back[victim].append(_kill(service, victim))
                progress(f"kill {count + 1}, {victim}: streams again after {back[victim][-1]:.2f} s")
            time.sleep(between[1])
            service.check()
            stop()
            late = readers.reach(head(url), TELL_SECONDS)
            told = readers.end()
        finally:
            readers.close()
        differ = differing(told.last, dict(answers(service.port, flips.uids)))
        described = postgres.describe()
    report = Report(
        f"{kills} times kill -9 of the service or its front at random instants; {streams} streams of {NAMED} users and "
        f"{EVERYBODY} of everybody go on from their cursors while {users:,} users come and go; seed {options.seed}",
        described,
        ("killed", "times", "streams again after, median s", "longest s"),
    )
    for victim, took in back.items():
        report.rows.append((victim, str(len(took)), number(percentile(took, 0.5)), number(max(took))))
    report.bars.append(Bar("last presences told that are not what is answered", differ, 0, at_least=False))
    report.bars.append(Bar("presences told that go back", told.backwards, 0, at_least=False))
    report.bars.append(Bar("streams not told up to the end", late, 0, at_least=False))
    recovered = told.resumed.get("recovered", 0)
    report.bars.append(Bar("streams gone on with", recovered, 1, at_least=True))
    reasons = ", ".join(f"{reason}: {times:,}" for reason, times in sorted(told.resumed.items()))
    report.notes.append(f"{told.connections:,} streams opened; {reasons}")
    return report


def _kill(service: _service.Service, victim: str) -> float:
    """The blow -> the seconds until the front listens again."""
    front = service.child("ledger.front.process")
    began = time.monotonic()
    if victim == "service":
        service.kill()
        service.spawn()
    elif front is not None:
        front.kill()
    while True:
        time.sleep(PAUSE_SECONDS)
        again = service.child("ledger.front.process")
        if again is not None and again != front and service.listens(service.front_port):
            return time.monotonic() - began
        if time.monotonic() > began + BACK_SECONDS:
            raise RuntimeError(f"no front within {BACK_SECONDS:g} s")


if __name__ == "__main__":
    main("stream_kills", "reliability.md", measure)
