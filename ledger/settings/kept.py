"""The secrets that are made where the settings name none, and the files of the data folder that keep them."""

import secrets
from collections.abc import Callable

from ledger.settings.model import SourceSettings

ADMIN_KEY_FILE = "admin.key"

KeepSecret = Callable[[str, Callable[[], str]], str]
"""`DataFolder.secret`: the text of the secret file of this name, made and stored first where there is none."""


def webhook_secrets(source: SourceSettings, keep: KeepSecret) -> tuple[str, ...]:
    """Returns the secrets that the source's webhooks may carry, newest first: those set, else the one kept."""
    return source.webhook_secrets or (keep(webhook_secret_file(source.name), new_webhook_secret),)


def webhook_secret_file(source: str) -> str:
    return f"webhook-{source}.secret"


def new_webhook_secret() -> str:
    """Returns 32 random bytes as 43 characters that fit into a URL's path."""
    return secrets.token_urlsafe(32)
