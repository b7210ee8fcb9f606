"""The names of the sources, for what is chosen by one: of the settings, which cost less than how each source fares."""

import re

from ledger.console.visit import PageRequest

_NAME = re.compile(r"sources\[\d+\]\.name")


async def source_names(visit: PageRequest) -> list[str]:
    """In the order of the settings; none where the service does not say."""
    settings = await visit.ask("/v1/settings")
    return [each["value"] for each in settings.items if _NAME.fullmatch(each["key"])]
