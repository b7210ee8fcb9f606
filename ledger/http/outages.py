"""The times in which PostgreSQL takes no webhooks or answers no questions, or a source cannot be read, as logged."""

from typing import NamedTuple

from ledger.repeated_logs import LoggedOutage, LogThrottle


class Outages(NamedTuple):
    """Kept apart: what cannot be written may well be read, and a question may be too much for a moment."""

    webhooks: LoggedOutage
    questions: LoggedOutage
    unreadable: LogThrottle
    """When to say again that a source's stream cannot be read, by source."""

    @classmethod
    def none_yet(cls) -> "Outages":
        began_and_ended = "store_unavailable", "store_available"
        return cls(
            LoggedOutage(*began_and_ended, concerns="webhooks"),
            LoggedOutage(*began_and_ended, concerns="questions"),
            LogThrottle(),
        )

    def for_path(self, path: str) -> LoggedOutage:
        """What a request to this path is about."""
        return self.webhooks if path.startswith("/hooks/") else self.questions
