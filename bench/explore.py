"""Does a property fail with another seed? Each again and again, until one does, the time is over, or Ctrl-C.

`python -m bench.explore [--seconds 600] [--jobs 2] [PATH…]`; exits 1 where a property failed. What it finds becomes an
`@example`, or a test of its own.
"""

import argparse
import secrets
import signal
import subprocess
import sys
import time

PATHS = ("tests/property", "tests/unit", "tests/contract")


def main() -> None:
    """Round after round, each with another seed."""
    parser = argparse.ArgumentParser(prog="python -m bench.explore", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", default=PATHS, help="tests to hunt in; all of them by default"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for so long; without end by default")
    parser.add_argument("--jobs", default="2", help="processes at once")
    given = parser.parse_args()
    deadline = time.monotonic() + given.seconds
    rounds = 0
    try:
        while time.monotonic() < deadline:
            seed = secrets.randbits(64)
            print(f"round {rounds + 1}, seed {seed}", flush=True)
            if not _holds(seed, given.paths, given.jobs, deadline):
                print(
                    f"A property failed; once more: {sys.executable} -m pytest --hypothesis-profile=explore "
                    f"--hypothesis-seed={seed} -m hypothesis {' '.join(given.paths)}"
                )
                sys.exit(1)
            rounds += 1
    except KeyboardInterrupt:
        print()
    print(f"{rounds} rounds, nothing found")


def _holds(seed: int, paths: list[str], jobs: str, deadline: float) -> bool:
    """One round, to its end, the first failure, or the end of the time. Raises KeyboardInterrupt."""
    options = ["-n", jobs, "--dist", "worksteal", "-q", "-x", "--no-header", "-m", "hypothesis"]
    options += ["--hypothesis-profile=explore", f"--hypothesis-seed={seed}"]
    pytest = subprocess.Popen([sys.executable, "-m", "pytest", *options, *paths])
    try:
        left = deadline - time.monotonic()
        return pytest.wait(None if left == float("inf") else left) == 0
    except subprocess.TimeoutExpired:
        pytest.send_signal(signal.SIGINT)
        pytest.wait()
        return True
    except KeyboardInterrupt:
        # The terminal has told pytest as well.
        pytest.wait()
        raise


if __name__ == "__main__":
    main()
