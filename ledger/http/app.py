"""The ASGI application: routes, problems and documentation around the services of one instance."""

from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import PlainTextResponse

from ledger import __version__
from ledger.http import (
    audit,
    documentation,
    drift_summary,
    explain,
    hooks,
    operations,
    presence,
    problems,
    reconciliation,
    stories,
)
from ledger.http.auth import KeyRing, require
from ledger.http.state import Services


def create_app(services: Services, keys: KeyRing) -> FastAPI:
    """The app of one instance."""
    app = _App(title="Presence ledger", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.services = services
    app.state.keys = keys
    problems.install(app)
    for router in (
        hooks.router,
        presence.router,
        audit.router,
        stories.router,
        drift_summary.router,
        explain.router,
        reconciliation.record,
        reconciliation.orders,
        operations.health,
        operations.router,
        documentation.router,
    ):
        app.include_router(router)
    scope = services.settings.metrics_scope
    app.add_api_route(
        "/metrics",
        operations.metrics,
        dependencies=[] if scope == "none" else [Depends(require(scope))],
        tags=["operations"],
        summary="What this instance counts",
        response_class=PlainTextResponse,
    )
    return app


class _App(FastAPI):
    """FastAPI with our description of the routes, made once."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = documentation.describe(self)
        return self.openapi_schema
