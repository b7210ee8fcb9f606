"""Whether a source is alive: its webhooks and good polls, silence, darkness; and how long the breaker holds."""

from typing import Any, Literal

import structlog
from msgspec.structs import asdict

from ledger.domain.instants import optional, to_text
from ledger.domain.mismatch import Mismatch
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND, Instant
from ledger.domain.reconciliation_events import BreakerClosed, SourceDark, SourceLit
from ledger.domain.silence import Listening, NodeRhythm, UntoldUsers, must_have_told
from ledger.reconcile.judge import Verdicts
from ledger.reconcile.leader_context import LeaderContext

log = structlog.get_logger()

RHYTHM_SHARE = 0.1
"""What the last interval between two webhooks weighs in the usual one."""


class SourceLiveness:
    """What was heard of the source, by the clock that only goes forward: a clock that is set darkens nothing."""

    def __init__(self, context: LeaderContext, last_alive_at: Instant | None) -> None:
        self._context = context
        ago = 0 if last_alive_at is None else max(0, context.now() - last_alive_at)
        self._last_alive = context.seconds() - ago / SECOND
        self._last_webhook_at = context.source.last_webhook_at
        self._last_good_poll_at: Instant | None = None
        self._webhook_interval: float | None = None
        self._began_at = context.now()
        self._untold = UntoldUsers()
        """Those whose change a webhook must have told since the last one that came."""
        self._silent = False
        self._breaker_ends: float | None = None
        self._lighting = False
        self._mismatches: dict[str, Mismatch] = {}
        """What speaks against the profile of a node."""
        self._nodes: dict[str, _NodeSilence] = {}
        context.on_judged.append(self.judged)

    async def tick(self) -> None:
        """Note what the last moment brought, and what it did not."""
        await self._note_webhooks()
        self._note_silence()
        await self._note_darkness()
        await self._close_breaker()

    async def polled(self) -> None:
        """A query was answered well."""
        self._last_good_poll_at = self._context.now()
        await self._note_alive("poll")

    def judged(self, verdicts: Verdicts) -> None:
        """A query was judged: what it corrected may be what a webhook must have told."""
        source = self._context.source
        listed_at = self._began_at + round(source.policy.tier_normal_seconds * SECOND)
        heard = [(self._untold, source.last_webhook_at)]
        heard += [(each.untold, source.nodes[name].last_webhook_at) for name, each in self._nodes.items()]
        for uid, look in verdicts.judged:
            if (finding := look.finding) is not None and finding.outcome == "corrected":
                for untold, heard_at in heard:
                    if must_have_told(finding, Listening(self._began_at, listed_at, heard_at)):
                        untold.note(uid, finding.disagreed_at)

    async def _note_webhooks(self) -> None:
        at = self._context.source.last_webhook_at
        if at is None or at == self._last_webhook_at:
            return
        if self._last_webhook_at is not None:
            interval = (at - self._last_webhook_at) / SECOND
            usual = interval if self._webhook_interval is None else self._webhook_interval
            self._webhook_interval = usual + RHYTHM_SHARE * (interval - usual)
        self._last_webhook_at = at
        self._untold.clear()
        self._note_nodes()
        await self._note_alive("webhook")

    def _note_nodes(self) -> None:
        """Webhooks have come: from which nodes, and from which none."""
        source = self._context.source
        posting = {name: source.nodes[name] for name in source.node_profiles if name in source.nodes}
        self._nodes = {name: self._nodes.get(name) or _NodeSilence() for name in posting} if len(posting) > 1 else {}
        for name, each in self._nodes.items():
            each.note(posting[name])

    def _note_silence(self) -> None:
        silent = self._untold.are_silence(self._context.now())
        if silent and not self._silent:
            heard_at = self._context.source.last_webhook_at
            heard = None if heard_at is None else to_text(heard_at)
            log.warning(
                "webhooks_silent", source=self._context.name, untold_users=len(self._untold), last_webhook_at=heard
            )
        elif self._silent and not silent:
            log.info("webhooks_heard", source=self._context.name)
        self._silent = silent

    def _note_mismatches(self) -> None:
        """In the thread that hears the webhooks."""
        found = {}
        for node, profile in self._context.source.node_profiles.items():
            mismatch = self._context.counts[node].mismatch(profile)
            if mismatch is not None:
                found[node] = mismatch
                if node not in self._mismatches:
                    told = {"profile": profile.value, "reason": mismatch.words}
                    log.warning("profile_mismatch", source=self._context.name, node=node, **told)
        for node in self._mismatches.keys() - found.keys():
            log.info("profile_matches", source=self._context.name, node=node)
        self._mismatches = found

    async def _note_alive(self, by: Literal["webhook", "poll"]) -> None:
        self._last_alive = self._context.seconds()
        if self._context.source.dark_since is not None and not self._lighting:
            # Several answers may come while the first one's event is being written.
            self._lighting = True
            try:
                log.info("source_lit", source=self._context.name, by=by)
                await self._context.append(SourceLit(at=self._context.now(), by=by))
            finally:
                self._lighting = False

    async def _note_darkness(self) -> None:
        source = self._context.source
        silent = self._context.seconds() - self._last_alive
        if source.policy.dark_seconds and silent >= source.policy.dark_seconds and source.dark_since is None:
            now = self._context.now()
            log.warning("source_dark", source=source.name, silent_seconds=round(silent))
            await self._context.append(SourceDark(at=now, since=now - round(silent * SECOND)))

    async def _close_breaker(self) -> None:
        source = self._context.source
        if source.breaker_until is None:
            self._breaker_ends = None
            return
        if self._breaker_ends is None:
            left = max(0.0, (source.breaker_until - self._context.now()) / SECOND)
            self._breaker_ends = self._context.seconds() + min(left, source.policy.breaker_hold_seconds)
            log.warning("breaker_open", source=source.name, until=to_text(source.breaker_until))
        if self._context.seconds() >= self._breaker_ends:
            # Where answers are judged, which reads the counts that this forgets.
            await self._context.database(self._context.source_store.breaker.reset)
            log.info("breaker_closed", source=source.name)
            await self._context.append(BreakerClosed(at=self._context.now()))

    def health(self) -> dict[str, dict[str, Any]]:
        """What is known of the nodes' query APIs, JSON-ready; under "" of the source."""
        now, source = self._context.now(), self._context.source
        self._note_mismatches()
        nodes = {name: _texts(asdict(client.health)) for name, client in self._context.clients.items()}
        polled, strangers = self._last_good_poll_at, self._context.source_store.strangers
        nodes[""] = {
            "leader": self._context.instance,
            "noted_at": to_text(now),
            "last_good_poll_at": None if polled is None else to_text(polled),
            "webhook_interval_seconds": None if self._webhook_interval is None else round(self._webhook_interval, 3),
            "webhooks_silent": self._silent,
            "breaker_open": source.breaker_until is not None,
            "profile_mismatches": {node: found.words for node, found in self._mismatches.items()},
            "profile_signs": {node: list(found) for node, found in self._mismatches.items()},
            "profile_told": [node for node in source.node_profiles if self._context.counts[node].tells],
            "listening_since": to_text(self._began_at),
            "strangers_told": strangers.tells,
            "untold_users": len(self._untold),
            "untold_since": optional(self._untold.since),
            "silent_nodes": {
                name: {"untold_users": len(each.untold), "untold_since": optional(each.untold.since)}
                for name, each in self._nodes.items()
                if each.rhythm.has_stopped and each.untold
            },
            "strangers": strangers.users,
            "strangers_since": optional(strangers.since),
        }
        return nodes


class _NodeSilence:
    """A node among others that post."""

    def __init__(self) -> None:
        self.rhythm = NodeRhythm()
        self.untold = UntoldUsers()
        """Those whose change a webhook must have told since the last one that came from it."""
        self._last_webhook_at: Instant | None = None

    def note(self, node: NodeState) -> None:
        posted = node.last_webhook_at != self._last_webhook_at
        self.rhythm.note(node.boot, posted=posted)
        if posted:
            self._last_webhook_at = node.last_webhook_at
            self.untold.clear()


def _texts(fields: dict[str, Any]) -> dict[str, Any]:
    instants = {name for name in fields if name.endswith(("_at", "_until"))}
    return {name: to_text(value) if name in instants and value is not None else value for name, value in fields.items()}
