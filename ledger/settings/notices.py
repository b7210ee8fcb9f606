"""Where notices of alerts go: the settings in force, and whether apprise can read their addresses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ledger.alerts.definition import Severity
from ledger.alerts.thresholds import Thresholds, defaults
from ledger.database_url import MASK
from ledger.errors import SettingsError
from ledger.languages import Language

if TYPE_CHECKING:
    # What reads settings takes a tenth of a second to import, and whoever has them needs none of it.
    from ledger.settings.alert_tables import AlertsTable, NotifyTable
    from ledger.settings.model import Settings


@dataclass(frozen=True)
class NotifySettings:
    """One entry of `[[notify]]`."""

    name: str
    url: str = field(repr=False)
    """An address of apprise, which holds a secret as a rule."""
    from_severity: Severity = "warning"
    lang: Language = "en"

    @property
    def masked_url(self) -> str:
        """What may be shown of it."""
        return f"{self.url.partition('://')[0]}://{MASK}"


def thresholds_of(table: "AlertsTable") -> Thresholds:
    """The thresholds in force."""
    given = table.model_dump()
    return Thresholds(
        off=tuple(given["off"]),
        evaluate_seconds=given["evaluate_seconds"],
        clear_seconds=given["clear_seconds"],
        clear_share=given["clear_share"],
        numbers={name: given[name] for name in defaults()},
    )


def notify_of(tables: "Sequence[NotifyTable]") -> tuple[NotifySettings, ...]:
    """The entries in force."""
    return tuple(NotifySettings(**each.model_dump()) for each in tables)


def expect_known(settings: "Settings") -> None:
    """See that apprise can read each address. Raises SettingsError with the line, without the address.

    Reading the settings does not: to know all services takes apprise half a second, and most commands tell nobody.
    """
    if not settings.notify:
        return
    import apprise  # noqa: PLC0415  (the same)

    for index, entry in enumerate(settings.notify):
        if apprise.Apprise.instantiate(entry.url, suppress_exceptions=True) is None:
            key = f"notify[{index}].url"
            file, colon, line = settings.origin(key).where.rpartition(":")
            place = f"{file}, line {line}" if colon else line
            raise SettingsError(
                f"{place}: {key} is not an address that apprise can read: its service is unknown, or a part is "
                f"missing.\nhttps://appriseit.com/services/ has the form of each; `apprise -vv ADDRESS` tries one."
            )
