"""Polls judged again: from the rows that their events keep, the fence, and the doubts that looks before them left."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ledger.domain.drift import Doubt, Poll
from ledger.domain.evidence import Placed
from ledger.domain.look import JudgedLook, Watch
from ledger.domain.reconciliation_events import UNFINISHED, Corrected, Finding, PollObserved
from ledger.domain.source import SourceState
from ledger.reconcile import judge, plan
from ledger.replay.comparison import Comparison, Said
from ledger.replay.placed import PlacedDraft
from ledger.slices.share import WHOLE, Share

DOUBT_BEFORE = "the look that first disagreed is not in the slice"
NOT_KEPT = "what the answer said was not kept"


Recorded: TypeAlias = tuple[Finding | None, Placed | None]
"""What a poll was recorded to have come to for a user: its finding, the correction that follows from it."""


class Polls:
    """Judges polls in the order of their positions, and remembers the doubts that they leave."""

    def __init__(self, draft: PlacedDraft, share: Share = WHOLE) -> None:
        self._draft = draft
        self._share = share
        """Of others nothing is judged: they are in the answers, but in no other event that is seen here."""
        self._doubts: dict[tuple[str, str], Doubt] = {}
        """By source and user, as judged again."""
        self._begun: dict[tuple[str, str], int] = {}
        """When the first look disagreed, of doubts on record that began in the slice."""

    def take(self, poll: Placed, event: PollObserved, corrections: Sequence[Placed]) -> list[Comparison]:
        """What an answer came to for each user whom it said something new of, then and now."""
        findings = {finding.uid: finding for finding in event.findings}
        corrected = {each.uid: each for each in corrections if each.uid}
        recorded: dict[str, Recorded] = {
            uid: (findings.get(uid), corrected.get(uid))
            for uid in dict.fromkeys([*event.rows, *findings, *corrected])
            if self._share.has(uid)
        }
        why_not = {uid: self._why_not(poll, event, uid, finding) for uid, (finding, _) in recorded.items()}
        asked = Poll(event.poll, event.run, event.node, event.route, event.asked_at, event.answered_at, event.head)
        judgeable = {uid: recorded[uid] for uid, why in why_not.items() if not why}
        verdicts = dict(self._judge_all(poll, event, asked, judgeable).judged)
        self._put(poll, event, asked, recorded, verdicts)
        return list(self._outcomes(poll, recorded, verdicts, why_not, event))

    def _put(
        self,
        poll: Placed,
        event: PollObserved,
        asked: Poll,
        recorded: Mapping[str, Recorded],
        verdicts: dict[str, JudgedLook],
    ) -> None:
        """Take what the answer changes now; of whom that cannot be known, what was recorded."""
        self._draft.stand_at(
            poll.position, {uid: each.position for uid, (_, each) in recorded.items() if each is not None}
        )
        judged = judge.Verdicts(list(verdicts.items()))
        for _ in judge.record(self._draft, poll.source, asked, event.asked, judged, {}, event.agreed):
            pass
        verdicts.update(judged.judged)
        for uid, (_, correction) in recorded.items():
            if uid not in verdicts and correction is not None:
                assert isinstance(correction.event, Corrected)
                self._draft.append_to_user(uid, correction.event)
        self._draft.leave()

    def _outcomes(
        self,
        poll: Placed,
        recorded: Mapping[str, Recorded],
        verdicts: Mapping[str, JudgedLook],
        why_not: Mapping[str, str | None],
        event: PollObserved,
    ) -> list[Comparison]:
        outcomes = []
        for uid, (finding, correction) in recorded.items():
            said = _said(finding, correction)
            judged = verdicts.get(uid)
            replayed = said if judged is None and why_not[uid] else () if judged is None else _judged(judged)
            self._remember(poll, event, uid, finding, None if judged is None else judged.watch.doubt)
            position = poll.position if correction is None else correction.position
            outcomes.append(Comparison(position, uid, said, replayed, why_not[uid]))
        return outcomes

    def _judge_all(
        self, poll: Placed, event: PollObserved, asked: Poll, recorded: Mapping[str, Recorded]
    ) -> judge.Verdicts:
        source = self._draft.source(poll.source)
        watches = {uid: _watch(self._doubts.get((poll.source, uid)), *said) for uid, said in recorded.items()}
        looks = self._looks(source, event, watches)
        return judge.judge_all(source, asked, looks, holding=source.breaker_until is not None)

    def _looks(self, source: SourceState, event: PollObserved, watches: Mapping[str, Watch]) -> list[judge.Look]:
        if event.route == plan.ROWS.value:
            rows = {uid: judge.read_rows(event.rows[uid]) for uid in watches}
            return judge.looks_at_rows(self._draft.presence, source, event.node, watches, rows)
        connections = {uid: judge.read_connections(event.rows[uid]) for uid in watches}
        return plan.looks_at_union(self._draft.presence, source, watches, connections, event.node.split("+"))

    def _why_not(self, poll: Placed, event: PollObserved, uid: str, finding: Finding | None) -> str | None:
        if uid not in event.rows:
            return NOT_KEPT
        if finding is None or _is_first(finding, event):
            return None
        return None if self._begun.get((poll.source, uid)) == finding.disagreed_at else DOUBT_BEFORE

    def _remember(
        self, poll: Placed, event: PollObserved, uid: str, finding: Finding | None, doubt: Doubt | None
    ) -> None:
        key = (poll.source, uid)
        if doubt is None:
            self._doubts.pop(key, None)
        else:
            self._doubts[key] = doubt
        if finding is None or finding.outcome not in UNFINISHED:
            self._begun.pop(key, None)
        elif _is_first(finding, event):
            self._begun[key] = finding.disagreed_at


def _is_first(finding: Finding, event: PollObserved) -> bool:
    """Whether no look before had disagreed: an answer is one look at a user, so that no other has its instant."""
    return finding.disagreed_at == event.answered_at and finding.outcome not in ("cleared", "in_flight")


def _said(finding: Finding | None, correction: Placed | None) -> tuple[Said, ...]:
    event = None if correction is None else correction.event
    assert event is None or isinstance(event, Corrected)
    return tuple(each for each in (finding, event) if each is not None)


def _judged(judged: JudgedLook) -> tuple[Said, ...]:
    return tuple(each for each in (judged.finding, judged.event) if each is not None)


def _watch(doubt: Doubt | None, finding: Finding | None, correction: Placed | None) -> Watch:
    """What was left open of a user; the last look that agreed is on record where it served as evidence."""
    verified_at = None if finding is None else finding.agreed_at
    if correction is not None and isinstance(correction.event, Corrected) and correction.event.drift is None:
        verified_at = correction.event.agreed_at
    return Watch(0, verified_at=verified_at, doubt=doubt)
