"""The API's description, made without a service."""

from functools import cache
from typing import Any
from unittest.mock import MagicMock

from ledger.http.app import create_app


@cache
def description() -> dict[str, Any]:
    """As `/openapi.json` answers it."""
    services = MagicMock()
    services.settings.metrics_scope = "audit"
    found: dict[str, Any] = create_app(services, MagicMock(), MagicMock()).openapi()
    return found


def operations() -> dict[str, dict[str, Any]]:
    """Each operation by its id, with its `method` and `path`."""
    return {
        operation["operationId"]: {**operation, "method": method, "path": path}
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    }
