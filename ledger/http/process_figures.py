"""What the system says of the processes of an instance, and of the disk that its data folder is on, for `/metrics`."""

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ledger import __version__


class ProcessFigures(Collector):
    """`process_…` of each process, by its name: the system keeps them where others of the same user can read them.

    `folder`: whose disk is looked at, None: none.
    """

    def __init__(self, own_name: str, folder: Path | None = None) -> None:
        self._folder = folder
        self._processes: dict[str, Callable[[], int | None]] = {own_name: os.getpid}

    def watch(self, name: str, pid: Callable[[], int | None]) -> None:
        """Tell of another process as well, as long as it has a pid."""
        self._processes[name] = pid

    def collect(self) -> Iterable[Metric]:
        """One of each for every process, the version, and the disk."""
        info = GaugeMetricFamily(
            "presence_ledger_build_info", "The version that runs, and on which Python", labels=["version", "python"]
        )
        info.add_metric([__version__, platform.python_version()], 1)
        running = {name: pid() for name, pid in self._processes.items()}
        return [info, *_by_process({name: pid for name, pid in running.items() if pid is not None}), *self._disk()]

    def _disk(self) -> list[Metric]:
        if self._folder is None:
            return []
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return []
        return [
            GaugeMetricFamily(
                "presence_ledger_disk_size_bytes", "The disk that data_dir is on, in bytes", value=usage.total
            ),
            GaugeMetricFamily(
                "presence_ledger_disk_free_bytes", "What of it the service may still fill, in bytes", value=usage.free
            ),
        ]


def _by_process(pids: Mapping[str, int]) -> list[Metric]:
    families: dict[str, Metric] = {}
    for process, pid in pids.items():
        for found in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
            family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
            for sample in found.samples:
                family.add_sample(sample.name, {"process": process}, sample.value)
    return list(families.values())
