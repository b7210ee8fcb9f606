"""What a page answers to a change: where it shows, or in the service's words why it was not made."""

from ledger.console.service import ServiceAnswer
from ledger.console.visit import Page, PageRequest, Redirect

SERVER_AWAY = 503


def done(visit: PageRequest, answer: ServiceAnswer, address: str) -> Page | Redirect:
    """To the page that shows it, where the service has made the change."""
    if answer.is_good:
        return Redirect(address)
    facts = {"answer": answer, "back": visit.address}
    return Page("not_done.html", visit.words("not_done.title"), facts, answer.status or SERVER_AWAY)
