"""Which of the items that are followed are heard for what their counts tell of a profile: everybody's, or a sample."""

from collections.abc import Callable, Mapping, MutableMapping

from ledger.domain.events import WebhookObserved
from ledger.domain.mismatch import CountsCheck
from ledger.domain.observation import Claim, parse_item

HEARD_WHOLE = 500
"""Of more events in a page those of a sample of users are heard. Five signs of a node, and four fifths of its last 200,
tell that its profile is wrong, and users who come and go give one with about every other item: of 20,000 items a second
from 16 nodes one user in 16 gives each node some 40, so that a wrong one shows at once, an upgrade in some seconds."""

Checks = Mapping[str, MutableMapping[str, CountsCheck]]
"""By source and node."""


class CountSigns:
    """Hears a page of webhooks after the other. `checks`: those that are told now."""

    def __init__(self, checks: Callable[[], Checks]) -> None:
        self._checks_now = checks
        self._checks: Checks = {}
        self.sampled = False
        """Only users of the sample (`in_sample`) are to be heard."""

    def begin(self, events: int) -> None:
        """A page of so many events follows."""
        self._checks = self._checks_now()
        self.sampled = events > HEARD_WHOLE
        if self.sampled:
            for nodes in self._checks.values():
                for check in nodes.values():
                    check.miss_others()

    def hear(self, said: WebhookObserved) -> None:
        """Take a webhook's item in; one that may be sent again tells nothing."""
        nodes = self._checks.get(said.source)
        if nodes is not None and not said.repeated and isinstance(claim := parse_item(said.raw), Claim):
            nodes[said.node].hear(claim)
