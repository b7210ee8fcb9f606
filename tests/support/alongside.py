"""Finds the processes alongside a service: the forked ones by what was noted of them, others among its children."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.external import RUN_VARIABLE


def find(service: int, module: str) -> psutil.Process | None:
    """The process of that module alongside the service of this number, if it runs."""
    with suppress(psutil.NoSuchProcess, FileNotFoundError):
        if RUN_VARIABLE in os.environ:
            return _running(psutil.Process(int(noted(service, module).read_text() or 0)))
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(service).children():
            with suppress(psutil.NoSuchProcess):
                if module in child.cmdline():
                    return _running(child)
    return None


def noted(service: int, module: str) -> Path:
    """The file of the test run that says which process it is."""
    return Path(os.environ[RUN_VARIABLE]) / f"{service}.{module}"


def _running(process: psutil.Process) -> psutil.Process | None:
    return None if process.status() == psutil.STATUS_ZOMBIE else process
