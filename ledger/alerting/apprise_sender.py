"""Sends notices by apprise, which speaks to some hundred services; what it says of a failure holds no secret."""

import logging
import threading
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import unquote

from ledger.alerting.notices import Notice
from ledger.alerting.notifier import Notifier, Told
from ledger.domain.observation import Instant
from ledger.settings import NotifySettings
from ledger.text import printable, shortened

MAX_REASON_CHARACTERS = 200
MIN_SECRET_CHARACTERS = 4
"""Shorter parts of an address are left in what is said of a failure: they are words like `http`."""


class Apprise:
    """Sends by apprise, which is loaded with the first notice."""

    def __init__(self, settings: NotifySettings) -> None:
        self._settings = settings
        self._service: Any = None
        # Its lines name addresses.
        logging.getLogger("urllib3").setLevel(logging.ERROR)

    def __call__(self, notice: Notice) -> str | None:
        try:
            return self._try(notice)
        except Exception as error:  # noqa: BLE001  (a receiver's library may fail in any way, and is tried again)
            return f"it could not be sent ({type(error).__name__})"

    def _try(self, notice: Notice) -> str | None:
        import apprise  # noqa: PLC0415  (to load all services takes half a second, which a quiet service never spends)

        if self._service is None:
            asset = apprise.AppriseAsset(app_id="Presence ledger", app_desc="Presence ledger")
            self._service = apprise.Apprise.instantiate(self._settings.url, asset=asset, suppress_exceptions=True)
            if self._service is None:
                return "its address cannot be read"
        # By the service itself, in this thread: `Apprise` has threads that the process waits for when it ends.
        with _Heard() as heard:
            taken = self._service.notify(body=notice.body, title=notice.title, notify_type=notice.kind)
        if taken:
            return None
        return without_secrets(heard.last, self._settings.url) or "it was not taken"


class _Heard(logging.Handler):
    """What apprise logs in this thread, which is where it says why something failed; none of it goes anywhere else."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self.last = ""

    def __enter__(self) -> Self:
        logger = logging.getLogger("apprise")
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.last = record.getMessage()


def without_secrets(text: str, url: str) -> str:
    """What may be shown of a failure: no part of the address but its service."""
    _, _, rest = url.partition("://")
    parts = {rest}
    for separator in "/:@?&=,;#":
        parts = {piece for part in parts for piece in part.split(separator)}
    parts |= {unquote(part) for part in parts}
    for part in sorted((part for part in parts if len(part) >= MIN_SECRET_CHARACTERS), key=len, reverse=True):
        text = text.replace(part, "***")
    return shortened(printable(text), MAX_REASON_CHARACTERS)


def notifier_of(settings: NotifySettings, told: Told, now: Callable[[], Instant]) -> Notifier:
    """The notifier of an entry."""
    return Notifier(settings.name, Apprise(settings), told, now)
