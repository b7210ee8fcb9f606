"""The canaries of an instance, made of its parts: they watch themselves through its own front."""

from ledger.canary.service import Canaries
from ledger.canary.shown import CanaryStreams
from ledger.http.grants import MAX_EXPIRES_SECONDS, Tokens
from ledger.http.state import Services
from ledger.settings import Settings


def canaries_of(settings: Settings, services: Services, tokens: Tokens) -> Canaries:
    """Those of the settings, to be sent while the instance reconciles."""

    async def sign(uid: str) -> str:
        token, _ = await tokens.sign([uid], None, MAX_EXPIRES_SECONDS)
        return token

    return Canaries(
        services.ledger,
        {source.name: source.canaries for source in settings.sources},
        services.clock.now,
        lambda: services.reconciliation.leads,
        None if settings.front_listen is None else CanaryStreams(settings.front_listen.local_url, sign),
        services.counters.registry,
    )
