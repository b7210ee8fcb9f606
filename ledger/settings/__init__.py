"""The settings: a TOML file and the environment, read once at the edge into one frozen value."""

from ledger.settings.entries import Entry, entries, mask_url
from ledger.settings.kept import ADMIN_KEY_FILE, webhook_secrets
from ledger.settings.load import FILE_NAME, load
from ledger.settings.model import (
    ApiKeySettings,
    Listen,
    LogFormat,
    LogLevel,
    MetricsScope,
    NodeSettings,
    Origin,
    Settings,
    SourceSettings,
)
from ledger.settings.policy import override_policy
from ledger.settings.scopes import SCOPES, with_implied

__all__ = [
    "ADMIN_KEY_FILE",
    "FILE_NAME",
    "SCOPES",
    "ApiKeySettings",
    "Entry",
    "Listen",
    "LogFormat",
    "LogLevel",
    "MetricsScope",
    "NodeSettings",
    "Origin",
    "Settings",
    "SourceSettings",
    "entries",
    "load",
    "mask_url",
    "override_policy",
    "webhook_secrets",
    "with_implied",
]
