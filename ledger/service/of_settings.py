"""What the parts of an instance are given of the settings: names, secrets, nodes, and what the rules read."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from ledger.ingest.announce import Configuration
from ledger.settings import Settings, webhook_secrets
from ledger.sources.wukongim.query_node import QueryNode
from ledger.store.data_folder import DataFolder

HookSecrets = Mapping[tuple[str, str], Sequence[str]]
"""By source and node."""


def node_names(settings: Settings) -> dict[str, list[str]]:
    """The names of the nodes, by source."""
    return {source.name: [node.name for node in source.nodes] for source in settings.sources}


def hook_secrets(settings: Settings, folder: DataFolder) -> HookSecrets:
    """Those that webhooks may carry; where the settings name none, the folder's, made if need be."""
    return {
        (source.name, node.name): webhook_secrets(source, folder.secret)
        for source in settings.sources
        for node in source.nodes
    }


def query_nodes(settings: Settings) -> dict[str, list[QueryNode]]:
    """The nodes with their query APIs, by source."""
    return {
        source.name: [QueryNode(n.name, n.api_url, n.token, source.profile_for(n), n.api_ca_file) for n in source.nodes]
        for source in settings.sources
    }


def configurations(settings: Settings) -> dict[str, Configuration]:
    """What the rules read of each source."""
    return {
        source.name: Configuration(
            replace(settings.policy, dark_seconds=source.dark_seconds),
            source.profile,
            {node.name: source.profile_for(node) for node in source.nodes},
        )
        for source in settings.sources
    }


def drift_window(settings: Settings) -> float:
    """The seconds within which the alert of drift counts."""
    return settings.alerts.of("drift_rate", "window_seconds")
