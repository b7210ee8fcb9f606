"""Every answer that was recorded from a real server is one: no bound and no form refuses what the versions send."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.domain.profile import Profile
from ledger.sources.wukongim.answers import (
    Boot,
    NodeConnections,
    OnlineRows,
    read_connections,
    read_online_status,
    read_start_time,
    read_uptime,
)
from ledger.sources.wukongim.forms import METRICS_BYTES, VARZ_BYTES, status_bytes
from ledger.sources.wukongim.recording import RecordedPoll, read_header, read_lines

FOLDER = Path(__file__).parents[1] / "fixtures" / "wukongim"
RECORDINGS = sorted(FOLDER.glob("*/*.jsonl"))


def polls(recording: Path) -> Iterator[tuple[Profile, RecordedPoll]]:
    with recording.open(encoding="utf-8") as lines:
        header = read_header(next(lines))
        for line in read_lines(lines, header, None, all_deliveries=False, polls=True):
            if isinstance(line, RecordedPoll) and line.error is None and line.status == 200:
                yield header.profile, line


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_answer_is_believed(recording: Path) -> None:
    for profile, poll in polls(recording):
        body, path = poll.body, poll.path.partition("?")[0]
        if path == "/user/onlinestatus" and poll.asked:
            answer = read_online_status(200, body, poll.asked)
            assert isinstance(answer, OnlineRows)
            assert answer.odd == 0
            assert len(body) * 10 < status_bytes(b"", len(poll.asked))
        elif path == "/connz" and "limit=100000" in poll.path:
            connections = read_connections(200, body)
            assert isinstance(connections, NodeConnections)
            assert connections.odd == 0
        elif path == "/varz":
            boot = read_uptime(200, body, poll.at, poll.at)
            assert isinstance(boot, Boot)
            assert (boot.node_id is None) == (profile is Profile.V1)
            assert len(body) * 10 < VARZ_BYTES
        elif path == "/metrics":
            assert isinstance(read_start_time(200, body), Boot)
            assert len(body) * 10 < METRICS_BYTES
