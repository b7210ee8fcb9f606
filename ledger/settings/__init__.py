"""The settings: a TOML file and the environment, read once at the edge into one frozen value."""

from ledger.database_url import masked as mask_url
from ledger.settings.entries import Entry, entries
from ledger.settings.exposed import exposed_file
from ledger.settings.kept import (
    ADMIN_KEY_FILE,
    SEAL_KEY_FILE,
    kept_secret,
    known_seal_keys,
    sealing_key,
    webhook_secret_file,
    webhook_secrets,
)
from ledger.settings.load import FILE_NAME, load
from ledger.settings.model import (
    SCOPES,
    ApiKeySettings,
    Listen,
    LogFormat,
    LogLevel,
    MetricsScope,
    NodeSettings,
    Origin,
    Settings,
    SourceSettings,
    with_implied,
)
from ledger.settings.notices import NotifySettings, expect_known
from ledger.settings.policy import override_policy
from ledger.settings.sinks import RedisSettings, SinkSettings, WebhookSettings, WukongimSettings

__all__ = [
    "ADMIN_KEY_FILE",
    "FILE_NAME",
    "SCOPES",
    "SEAL_KEY_FILE",
    "ApiKeySettings",
    "Entry",
    "Listen",
    "LogFormat",
    "LogLevel",
    "MetricsScope",
    "NodeSettings",
    "NotifySettings",
    "Origin",
    "RedisSettings",
    "Settings",
    "SinkSettings",
    "SourceSettings",
    "WebhookSettings",
    "WukongimSettings",
    "entries",
    "expect_known",
    "exposed_file",
    "kept_secret",
    "known_seal_keys",
    "load",
    "mask_url",
    "override_policy",
    "sealing_key",
    "webhook_secret_file",
    "webhook_secrets",
    "with_implied",
]
