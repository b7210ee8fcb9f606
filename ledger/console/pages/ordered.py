"""What a page answers to a change: where it shows, or in the service's words why it was not made."""

from ledger.console.service import Answer
from ledger.console.visit import Moved, Page, Visit

SERVER_AWAY = 503


def done(visit: Visit, answer: Answer, address: str) -> Page | Moved:
    """To the page that shows it, where the service has made the change."""
    if answer.is_good:
        return Moved(address)
    facts = {"answer": answer, "back": visit.address}
    return Page("not_done.html", visit.words("not_done.title"), facts, answer.status or SERVER_AWAY)
