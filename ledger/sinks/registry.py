"""Which kinds of sinks there are: a new one is its module, its settings, and its line here."""

from collections.abc import Sequence

from ledger.settings import RedisSettings, SinkSettings, SourceSettings, WebhookSettings, WukongimSettings
from ledger.sinks.kind import Kind, Surroundings
from ledger.sinks.kinds import redis, webhook, wukongim


def build(sink: SinkSettings, sources: Sequence[SourceSettings], surroundings: Surroundings) -> Kind:
    """A sink's way to its receiver; `sources` are all there are, since a kind may use the nodes of one."""
    match sink:
        case WebhookSettings():
            return webhook.build(sink)
        case WukongimSettings():
            return wukongim.build(sink, sources, surroundings)
        case RedisSettings():
            return redis.build(sink, surroundings)
