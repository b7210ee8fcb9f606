"""Which kinds of sinks there are: a new one is its module, its settings, and its line here."""

from ledger.settings import RedisSettings, Settings, SinkSettings, WebhookSettings, WukongimSettings
from ledger.sinks.kind import Kind, Surroundings
from ledger.sinks.kinds import redis, webhook, wukongim


def build(sink: SinkSettings, settings: Settings, surroundings: Surroundings) -> Kind:
    """A sink's way to its receiver; `settings` are all there are, since a kind may use a source's nodes."""
    match sink:
        case WebhookSettings():
            return webhook.build(sink)
        case WukongimSettings():
            return wukongim.build(sink, settings, surroundings)
        case RedisSettings():
            return redis.build(sink, settings, surroundings)
