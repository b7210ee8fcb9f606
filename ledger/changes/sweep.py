"""A walk through everybody in some sources whose state has changed, page by page, each user held against before."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ledger.changes.moment import Moment
from ledger.changes.step import Change, Previous
from ledger.domain.presence import Presence
from ledger.domain.visible import Visible, visible_at
from projections.models import current
from projections.models.shown import Rules

PAGE_USERS = 2_000
"""Looked at in one step."""


class SweepPage(NamedTuple):
    """A page: who is on it, who of them is shown otherwise, and what is shown of all of them."""

    page: Sequence[Presence]
    changes: list[Change]
    told: dict[str, Visible]


class Sweep:
    """One walk; `rules` are those before they changed."""

    def __init__(self, names: list[str], rules: Rules) -> None:
        self._names = names
        self._rules = rules
        self._uid = ""
        self.is_over = False
        """Whether everybody has been gone through."""

    def look(self, moment: Moment, told: Mapping[str, Visible]) -> SweepPage:
        """The next page, held against what was shown before; whoever has been `told` of since, against that."""
        at = moment.made.at
        page = current.of_sources_after(moment.connection, self._names, self._uid, PAGE_USERS)
        shown, found, before = {}, {}, {}
        for presence in page:
            old = told.get(presence.uid) or visible_at(presence, self._rules.sources, at)
            new = shown[presence.uid] = visible_at(presence, moment.rules.sources, at)
            if new != old:
                found[presence.uid], before[presence.uid] = presence, Previous(old.status, old.since)
        return SweepPage(page, [Change(uid, body, before[uid]) for uid, body in moment.bodies(found)], shown)

    def go_on(self, page: Sequence[Presence]) -> None:
        """That page has been told of."""
        self._uid = page[-1].uid if page else ""
        self.is_over = len(page) < PAGE_USERS
