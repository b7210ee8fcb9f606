"""The settings: a TOML file and the environment, read once at the edge into one frozen value.

That value is imported from here. Where it is read and shown (`load`, `entries`, `exposed`, `policy`) is imported by its
own name: what checks it takes a tenth of a second to import, which the processes alongside the service do without.
"""

from ledger.database_url import masked as mask_url
from ledger.settings.canaries import CanarySettings
from ledger.settings.kept import (
    ADMIN_KEY_FILE,
    SEAL_KEY_FILE,
    kept_secret,
    known_seal_keys,
    sealing_key,
    webhook_secret_file,
    webhook_secrets,
)
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
from ledger.settings.notices import NotifySettings
from ledger.settings.sinks import RedisSettings, SinkSettings, WebhookSettings, WukongimSettings

__all__ = [
    "ADMIN_KEY_FILE",
    "SCOPES",
    "SEAL_KEY_FILE",
    "ApiKeySettings",
    "CanarySettings",
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
    "kept_secret",
    "known_seal_keys",
    "mask_url",
    "sealing_key",
    "webhook_secret_file",
    "webhook_secrets",
    "with_implied",
]
