"""The secrets that are made where the settings name none, and the files of the data folder that keep them."""

import secrets
from collections.abc import Callable

from ledger.errors import SettingsError
from ledger.files import read_text
from ledger.settings.model import Settings, SourceSettings

ADMIN_KEY_FILE = "admin.key"
SEAL_KEY_FILE = "seal.key"

KeepSecret = Callable[[str, Callable[[], str]], str]
"""`DataFolder.secret`: the text of the secret file of this name, made and stored first where there is none."""


def webhook_secrets(source: SourceSettings, keep: KeepSecret) -> tuple[str, ...]:
    """Returns the secrets that the source's webhooks may carry, newest first: those set, else the one kept."""
    return source.webhook_secrets or (keep(webhook_secret_file(source.name), new_secret),)


def sealing_key(settings: Settings, keep: KeepSecret) -> str:
    """Returns the key that new events are sealed with: the newest of those set, else the one kept."""
    key = settings.seal_keys[0] if settings.seal_keys else keep(SEAL_KEY_FILE, new_secret)
    if not key:
        raise SettingsError(
            f"{settings.data_dir / SEAL_KEY_FILE} is empty, so anyone could seal as this service does.\n"
            "Put the key back, or set seal_keys to a new one: what the old one sealed cannot be verified without that."
        )
    return key


def known_seal_keys(settings: Settings) -> tuple[str, ...]:
    """Returns all keys that seals may be checked with, newest first: those set, then the one kept; makes none."""
    kept = kept_secret(settings, SEAL_KEY_FILE)
    return (*settings.seal_keys, *filter(None, (kept,)))


def kept_secret(settings: Settings, name: str) -> str | None:
    """Returns the secret that the data folder keeps in the file of this name, None where it keeps none; makes none."""
    file = settings.data_dir / name
    try:
        return read_text(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(
            f"{file} cannot be read: {error.strerror or error}.\nRun the command as the user the service runs as."
        ) from error


def webhook_secret_file(source: str) -> str:
    return f"webhook-{source}.secret"


def new_secret() -> str:
    """Returns 32 random bytes as 43 characters, which fit into a URL's path."""
    return secrets.token_urlsafe(32)
