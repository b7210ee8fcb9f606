"""Whether other users can read the secrets that stand in the settings file, or change the file."""

import re

from ledger.database_url import masked as mask_url
from ledger.files import Exposed, exposed
from ledger.settings.edge import DATABASE_URLS, SECRET_KEYS
from ledger.settings.model import Settings

_PARTS = re.compile(r"[^.\[\]]+")
OTHERS_WRITE = 0o022
OTHERS_READ = 0o004
"""A dedicated group may read it: that is how a service which is not root reads a file of root's."""


def exposed_file(settings: Settings) -> Exposed | None:
    """The settings file, where it holds secrets that any user can read, or where others can change it."""
    found = settings.file and exposed(settings.file)
    if not found:
        return None
    mode = int(found.mode, 8)
    return found if mode & OTHERS_WRITE or (mode & OTHERS_READ and _has_secrets(settings)) else None


def _has_secrets(settings: Settings) -> bool:
    from_file = [key for key, origin in settings.origins.items() if origin.kind == "file"]
    if any(_names_a_secret(key) for key in from_file if key not in DATABASE_URLS):
        return True
    urls = [getattr(settings, key) for key in DATABASE_URLS if key in from_file]
    return any(mask_url(url) != url for url in urls)


def _names_a_secret(key: str) -> bool:
    return not SECRET_KEYS.isdisjoint(_PARTS.findall(key))
