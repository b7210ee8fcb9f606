"""The alerts of an instance, made of its parts."""

from collections.abc import Callable

from ledger.alerting.apprise_sender import notifier_of
from ledger.alerting.instance_note import OwnNotes
from ledger.alerting.journal import Journal
from ledger.alerting.telling import Notifiers
from ledger.alerting.watch import Alerting, Sight
from ledger.http.archive import ArchiveRun
from ledger.http.state import Services
from ledger.reconcile.leadership import Leadership
from ledger.settings import Settings

ALERTS_LOCK = 0x70726573_616C7274
""""pres", "alrt" in ASCII: who evaluates."""


def alerting_of(
    settings: Settings, services: Services, database_url: str, archive: Callable[[], ArchiveRun] = ArchiveRun
) -> Alerting:
    """Evaluates them once it is started; of the event loop that runs. `archive`: how archiving fares."""
    sight = Sight(
        ledger=services.ledger,
        instance=services.instance,
        look=services.database.look,
        states=services.streams.states,
        leadership=Leadership(database_url, ALERTS_LOCK, "alerts"),
        own=OwnNotes(settings, services.refusals, services.senders, spool=services.spool, archive=archive),
        journal=Journal(settings.data_dir, services.ledger_id),
        now=services.clock.now,
        waits=lambda: services.spool is not None and services.spool.comes_first,
    )
    return Alerting(settings, sight, lambda told: Notifiers(settings.notify, notifier_of, services.clock.now, told))
