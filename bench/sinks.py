"""Does a receiver that is away, slow and wrong end with what is answered, and how often is it told of a flicker?"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2

from bench import _client, _service
from bench._flipping import NODES, flipping, post
from bench._flips import Flips, answers, visible
from bench._postgres import server
from bench._receiver import SECRET, Mood, Receiver, receiving
from bench._report import Bar, Options, Report, main, number, percentile, progress

COALESCE_SECONDS = 2.0
FLIP_SECONDS = 0.25
FLICKERER = "flickerer"
BODY_ITEMS = 20
PAUSE_SECONDS = 0.02
POLL_SECONDS = 0.1
TELL_SECONDS = 300.0

SINK = """
[[sinks]]
name = "app"
kind = "webhook"
url = "{url}"
secret = "{secret}"
coalesce_seconds = {coalesce}
"""

PHASES: Sequence[Mood | str] = (
    "well", "down", "slow", "wrong", "asking", "redirecting", "garbage", "silent", "killed", "down", "well",
)  # fmt: skip
"""What the receiver does in turn; when it is `killed`, the service is, with the receiver well."""
SHORT_PHASES: Sequence[Mood | str] = ("down", "slow", "silent", "killed", "well")
"""Each of the others has a test of its own."""


def measure(options: Options) -> Report:
    """Users come and go all the time; at the end each user's last told state is held against what is answered."""
    users, seconds, flips = options.pick(20_000, 200), options.pick(20, 1), options.pick(80, 12)
    crowd = Flips(users, options.seed)
    with (
        server(replace(options, settings={})) as postgres,
        postgres.database() as url,
        receiving() as receiver,
        _service.running(postgres.folder / "sinks", url, source=_sink(receiver)) as service,
    ):
        _wait(lambda: _sinks(service)["state"] != "new")
        with flipping(service, crowd, BODY_ITEMS, PAUSE_SECONDS * options.pick(1, 20)) as stop:
            rows = [_phase(service, receiver, phase, seconds) for phase in (SHORT_PHASES if options.short else PHASES)]
            stop()
        _wait(lambda: _is_told(service))
        missing, differ = _compared(service, receiver, crowd.uids)
        took, told = _flicker(service, receiver, flips)
        _wait(lambda: _is_told(service))
        lost = sum(_compared(service, receiver, [FLICKERER]))
        described = postgres.describe()
    report = Report(
        f"{users:,} users come and go on {len(NODES)} nodes while the receiver of a webhook sink is away, slow and "
        f"wrong, {seconds} s each at least, and the service is killed once; then {flips} flips of one user; "
        f"seed {options.seed}",
        described,
        ("the receiver is", "requests", "changes taken", "lag at the end, positions"),
        rows,
    )
    report.bars.append(Bar("users of whom it was told nothing", missing, 0, at_least=False))
    report.bars.append(Bar("users whose last told state is not what is answered", differ + lost, 0, at_least=False))
    report.bars.append(Bar("requests that were not as the standard has it", len(receiver.faults), 0, at_least=False))
    # Each window begins with a flip that comes after the end of the one before.
    most = took / COALESCE_SECONDS + 1
    report.bars.append(Bar("flips told, of one for each window", told / most, 1, at_least=False))
    report.bars.append(Bar(f"times that {flips} flips were told", told, flips / 8, at_least=False, speed=True))
    report.notes.append(f"{flips} flips within {took:.1f} s, told {told} times; {len(receiver.requests):,} requests")
    between = percentile(_between(receiver), 0.5)
    report.notes.append(
        f"from one of these to the next {number(between)} s at the median; {COALESCE_SECONDS:g} s coalesced"
    )
    return report


def _sink(receiver: Receiver) -> str:
    return SINK.format(url=receiver.url, secret=SECRET, coalesce=COALESCE_SECONDS)


def _phase(service: _service.Service, receiver: Receiver, phase: Mood | str, seconds: float) -> Sequence[str]:
    """The receiver does as the phase says -> its row."""
    requests, taken = len(receiver.requests), len(receiver.history)
    match phase:
        case "down":
            receiver.stop()
        case "killed":
            service.kill()
            service.start()
        case _:
            receiver.mood = phase  # type: ignore[assignment]
    time.sleep(seconds)
    if phase not in ("down", "killed"):
        _wait(lambda: len(receiver.requests) > requests)
    else:
        _wait(lambda: phase == "killed" or _sinks(service)["state"] == "failing")
    service.check()
    lag = _sinks(service)["lag_events"]
    if phase == "down":
        receiver.start()
    elif phase == "silent":
        # Whoever waits for it is let go.
        receiver.stop()
        receiver.start()
    receiver.mood = "well"
    # Its next failure is the first again.
    _wait(lambda: len(receiver.history) > taken)
    progress(f"{phase}: {len(receiver.requests) - requests:,} requests, {lag:,} positions behind")
    name = "well, the service killed" if phase == "killed" else phase
    return name, f"{len(receiver.requests) - requests:,}", f"{len(receiver.history) - taken:,}", f"{lag:,}"


def _flicker(service: _service.Service, receiver: Receiver, flips: int) -> tuple[float, int]:
    """One user comes and goes -> (for how many seconds, how often the receiver was told)"""
    began = time.monotonic()
    for flip in range(flips):
        state = "1" if flip % 2 == 0 else "0"
        connection = flip // 2 + 1
        _client.run(post(service, 0, [[f"{FLICKERER}-0-{state}-{connection}-{state}-{state}"]]))
        time.sleep(max(0.0, began + (flip + 1) * FLIP_SECONDS - time.monotonic()))
    return time.monotonic() - began, receiver.times[FLICKERER]


def _between(receiver: Receiver) -> list[float]:
    """The seconds between two requests that tell of the flickering user."""
    at = [request.at for request in receiver.requests if FLICKERER.encode() in request.body]
    return [later - earlier for earlier, later in pairwise(at)] or [0.0]


def _compared(service: _service.Service, receiver: Receiver, uids: Sequence[str]) -> tuple[int, int]:
    """-> (users of whom nothing was told, users of whom something else is answered than was told last)"""
    missing = differ = 0
    for uid, answer in answers(service.port, uids):
        told = receiver.shown.get(uid)
        missing += told is None
        differ += told is not None and visible(told) != visible(answer)
    return missing, differ


def _sinks(service: _service.Service) -> dict[str, Any]:
    response = httpx2.get(
        f"http://127.0.0.1:{service.port}/v1/sinks", headers={"Authorization": f"Bearer {_service.KEY}"},
        trust_env=False, timeout=60,
    )  # fmt: skip
    response.raise_for_status()
    found: dict[str, Any] = response.json()["items"][0]
    return found


def _is_told(service: _service.Service) -> bool:
    found = _sinks(service)
    return bool(found["state"] == "following" and found["lag_events"] == 0)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TELL_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"the sink is not where it should be after {TELL_SECONDS:g} s")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main("sinks", "reliability.md", measure)
