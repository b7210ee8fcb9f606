"""A group of webhooks on its way through the writer: who waits for it, what was posted, what was made of it."""

from collections.abc import Sequence

from ledger.ingest.draft import Webhook
from ledger.ingest.group import Judged
from ledger.ingest.intake import Ticket


class Work:
    """Tickets on their way to the ledger; `judged` is None until somebody has judged them, and once that is void."""

    def __init__(self, tickets: Sequence[Ticket], webhooks: Sequence[Webhook]) -> None:
        self.tickets = tickets
        self.webhooks = webhooks
        self.judged: Judged | None = None

    @property
    def names(self) -> set[str]:
        """The sources that its webhooks name."""
        return {webhook.source for webhook in self.webhooks}

    def uids(self) -> set[str]:
        """The users that their items name."""
        return {uid for webhook in self.webhooks for uid in webhook.uids()}

    def drop_unwanted(self, wanted: Sequence[Ticket]) -> None:
        """Go on with those tickets alone, to be judged again."""
        kept = {ticket.delivery for ticket in wanted}
        self.tickets = wanted
        self.webhooks = [webhook for webhook in self.webhooks if webhook.delivery in kept]
        self.judged = None
