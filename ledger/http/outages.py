"""The times in which PostgreSQL takes no webhooks or answers no questions, or a source cannot be read, as logged."""

from typing import NamedTuple

from ledger.said import Lasting, Seldom


class Outages(NamedTuple):
    """Kept apart: what cannot be written may well be read, and a question may be too much for a moment."""

    webhooks: Lasting
    questions: Lasting
    unreadable: Seldom
    """When to say again that a source's stream cannot be read, by source."""

    @classmethod
    def none_yet(cls) -> "Outages":
        began_and_ended = "store_unavailable", "store_available"
        return cls(
            Lasting(*began_and_ended, concerns="webhooks"), Lasting(*began_and_ended, concerns="questions"), Seldom()
        )

    def for_path(self, path: str) -> Lasting:
        """What a request to this path is about."""
        return self.webhooks if path.startswith("/hooks/") else self.questions
