"""The API's description, made without a service."""

from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from ledger.http.app import create_app


@cache
def description() -> dict[str, Any]:
    """As `/openapi.json` answers it."""
    services = SimpleNamespace(settings=SimpleNamespace(metrics_scope="audit"))
    found: dict[str, Any] = create_app(*cast(Any, (services, None, None))).openapi()
    return found


def operations() -> dict[str, dict[str, Any]]:
    """Each operation by its id, with its `method` and `path`."""
    return {
        operation["operationId"]: {**operation, "method": method, "path": path}
        for path, methods in description()["paths"].items()
        for method, operation in methods.items()
    }
