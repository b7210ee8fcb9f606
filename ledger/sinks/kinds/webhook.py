"""The kind `webhook`: changes posted as Standard Webhooks."""

from ledger.settings import WebhookSettings
from ledger.sinks.kind import Kind


def build(sink: WebhookSettings) -> Kind:
    """The way to this receiver."""
    raise NotImplementedError
