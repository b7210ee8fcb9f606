"""A source as the API shows it: its state in the ledger, what the leading instance noted of it, and its health."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from ledger.domain.instants import from_datetime, optional, to_text
from ledger.domain.nodes import NodeState
from ledger.domain.observation import SECOND
from ledger.domain.profile import Profile
from ledger.domain.source import SourceState
from ledger.http import canary_view, source_answers, source_reasons
from ledger.http.state import Services
from ledger.settings import SourceSettings
from ledger.working_state.canaries import CanaryRow
from ledger.working_state.sources import SourceUnreadable

LED_SECONDS = 10.0
"""Another instance leads so long after the end of the one before, at the latest."""

Json = dict[str, Any]
Noted = TypeVar("Noted", bound=msgspec.Struct)


def _as_far_as_known(state: SourceState, settings: SourceSettings) -> SourceState:
    """A state that could not be read to its end, with the nodes of the settings where it has none."""
    if state.node_profiles:
        return state
    profiles = {node.name: settings.profile_for(node) for node in settings.nodes}
    return msgspec.structs.replace(state, profile=settings.profile, node_profiles=profiles)


class SourceView:
    """One source of the settings, its state in the ledger, and what the leading instance noted of it.

    Of one that cannot be read the state is as far as it can; its nodes are those of the settings where none are known.
    """

    def __init__(
        self,
        services: Services,
        settings: SourceSettings,
        state: SourceState | SourceUnreadable,
        noted: Mapping[str, Json],
        senders: Sequence[Mapping[str, str]] = (),
        canaries: Sequence[CanaryRow] = (),
    ) -> None:
        """`senders`: by instance, the nodes under whose name posts come from the address of another one."""
        self._services = services
        self._settings = settings
        self._unreadable = state if isinstance(state, SourceUnreadable) else None
        self._state = _as_far_as_known(state.state, settings) if isinstance(state, SourceUnreadable) else state
        self._noted = noted.get("", {})
        self._senders = senders
        self._canaries = {canary.node: canary for canary in canaries}
        self._looks: Json = self._noted.get("looks") or {}
        self._asked = [node.name for node in settings.nodes if node.api_url]
        self._apis = {name: noted[name] for name in self._asked if name in noted}

    def view(self) -> source_answers.SourceBody:
        """As the API shows it."""
        state = self._state
        return source_answers.SourceBody(
            name=state.name,
            profile=state.profile,
            version=state.version,
            health=self._health(),
            reasons=list(self._reasons()),
            last_webhook_at=optional(state.last_webhook_at),
            rhythm_seconds=self._noted.get("webhook_interval_seconds"),
            webhooks_silent=self._webhooks_are_silent,
            last_good_poll_at=self._noted.get("last_good_poll_at"),
            leader=self._noted.get("leader"),
            looks=self._looks_body(),
            dark_since=optional(state.dark_since),
            breaker=source_answers.BreakerBody(state.breaker_until is not None, optional(state.breaker_until)),
            open_runs=[
                source_answers.OpenRunBody(
                    run, opened.scope, opened.node, to_text(opened.started_at), len(opened.uids) or None
                )
                for run, opened in state.open_runs.items()
            ],
            retired_nodes=list(state.retired),
            nodes=[self._node(name, profile) for name, profile in state.node_profiles.items()],
        )

    def _looks_body(self) -> source_answers.LooksBody | None:
        # Where nobody can be asked, nobody is looked at in any way.
        if not self._looks or not self._asked:
            return None
        looks = _from_note(source_answers.LooksBody, self._looks)
        if (made := self._looks.get("all_connections")) is not None:
            looks.all_connections = _from_note(source_answers.AllConnectionsBody, made)
        return looks

    def _node(self, name: str, profile: Profile) -> source_answers.NodeBody:
        node = self._state.nodes.get(name, NodeState())
        api = self._apis.get(name)
        return source_answers.NodeBody(
            name=name,
            profile=profile,
            last_webhook_at=optional(node.last_webhook_at),
            highest_conn_id=node.highest_conn_id,
            down_since=optional(node.down_since),
            boot=None if node.boot is None else source_answers.BootBody(*map(to_text, node.boot)),
            api=source_answers.ApiBody(
                name in self._asked, None if api is None else _from_note(source_answers.ApiHealth, api)
            ),
            canary=canary_view.body(self._canaries.get(name)),
            since_start=self._services.counters.for_node(self._state.name, name),
        )

    def _health(self) -> source_answers.Health:
        if self._state.dark_since is not None:
            return "dark"
        if not self._asked and self._unreadable is None:
            return "unreconciled"
        return "degraded" if any(self._reasons()) else "good"

    @property
    def _webhooks_are_silent(self) -> bool:
        return bool(self._noted.get("webhooks_silent", False))

    def _reasons(self) -> Iterator[str]:
        """Why the source is not good, in words."""
        state = self._state
        if self._unreadable is not None:
            yield str(self._unreadable)
        if state.dark_since is not None:
            yield f"neither a webhook nor a good answer since {to_text(state.dark_since)}"
        if not self._asked:
            yield "no node has an api_url: what webhooks miss stays unseen"
        elif (unled := self._unled()) is not None:
            yield unled
        if state.breaker_until is not None:
            yield (
                "too many online users were said to be offline at once: corrections to offline are held until "
                f"{to_text(state.breaker_until)} at least"
            )
        if self._webhooks_are_silent:
            yield "webhooks have stopped while queries answer: look at the webhook's address and secret on the nodes"
        yield from source_reasons.never_posted(state, self._looks)
        refusals = self._services.refusals.from_source(state.name)
        yield from source_reasons.refused(state, refusals, self._services.clock.now())
        yield from source_reasons.unconfirmed(state, self._looks)
        yield from source_reasons.wrong_servers(state, self._noted, self._senders)
        for name, words in self._noted.get("profile_mismatches", {}).items():
            profile = state.node_profiles.get(name)
            if profile is not None:
                yield f"{name}: its profile is {profile}, but {words}: set `profile` to the version that runs there"
        for name in state.node_profiles:
            yield from self._node_reasons(name)
        for name in state.retired:
            yield f"{name}: no longer configured; its sessions are still to be ended"

    def _unled(self) -> str | None:
        """Whether the leading instance is missing: it notes every second how it fares."""
        noted_at = self._noted.get("noted_at")
        if noted_at is None:
            return "reconciliation has not begun yet"
        ago = (self._services.clock.now() - from_datetime(datetime.fromisoformat(noted_at))) / SECOND
        return f"no instance has reconciled since {noted_at}" if ago > LED_SECONDS else None

    def _node_reasons(self, name: str) -> Iterator[str]:
        node = self._state.nodes.get(name, NodeState())
        if node.down_since is not None and node.swept:
            yield f"{name}: has not answered since {to_text(node.down_since)}"
        elif not node.swept:
            yield f"{name}: has booted; who was connected to it before is still being looked at"
        canary = self._canaries.get(name)
        if canary is not None and canary.failing_since is not None:
            yield f"{name}: its canary has failed since {to_text(canary.failing_since)}: {canary.last_error}"
        if name not in self._asked:
            return
        api = self._apis.get(name, {})
        yield from source_reasons.wrong_clock(name, api)
        has_token = any(node.name == name and node.token for node in self._settings.nodes)
        yield from source_reasons.query_api(name, api, has_token=has_token)


def _from_note(body: type[Noted], note: Mapping[str, Any]) -> Noted:
    """What the leading instance noted, perhaps of another version; what it did not note is null."""
    return body(**{name: note.get(name) for name in body.__struct_fields__})
