"""The file of a private certificate authority, by which a node's `api_url` is trusted: where it is, what is wrong."""

import os
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from ledger.settings.edge import SettingsTable
from ledger.settings.lines import KeyPath
from ledger.settings.model import Origin
from ledger.settings.problems import SettingProblem, dotted_key


class Bases:
    """The folders that relative paths of files begin at."""

    def __init__(self, file_folder: Path, working_folder: Path, origins: Mapping[str, Origin]) -> None:
        self._file_folder, self._working_folder = file_folder, working_folder
        self._origins = origins

    def resolve(self, key: str, path: str) -> Path:
        """Absolute; a variable's is relative to the working folder, the file's to the file's folder.

        Its own links are not resolved here: whose they are may be looked at before they are followed.
        """
        origin = self._origins.get(key, Origin("default"))
        base = self._working_folder if origin.kind == "environment" else self._file_folder
        return Path(os.path.normpath(base.resolve() / path))


def authority_file(bases: Bases, table: SettingsTable, source: int, node: int) -> Path | None:
    """The authority's file in force for a node: its own, else its source's."""
    outer, inner = ("sources", source, "api_ca_file"), ("sources", source, "nodes", node, "api_ca_file")
    places = ((inner, table.sources[source].nodes[node].api_ca_file), (outer, table.sources[source].api_ca_file))
    return next((bases.resolve(dotted_key(path), value) for path, value in places if value), None)


def problems(bases: Bases, table: SettingsTable) -> Iterator[SettingProblem]:
    """What keeps the files from being used."""
    for source, each in enumerate(table.sources):
        yield from _problem(bases, ("sources", source, "api_ca_file"), each.api_ca_file)
        for node, member in enumerate(each.nodes):
            yield from _problem(bases, ("sources", source, "nodes", node, "api_ca_file"), member.api_ca_file)


def _problem(bases: Bases, path: KeyPath, value: str | None) -> Iterator[SettingProblem]:
    if value is None:
        return
    file = bases.resolve(dotted_key(path), value)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        yield SettingProblem(path, f"names {file}, which contains no PEM certificates")
    except OSError as error:
        yield SettingProblem(path, f"names {file}, which cannot be read: {error.strerror or error}")
