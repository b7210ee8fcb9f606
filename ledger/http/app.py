"""The ASGI application: routes, problems and documentation around the services of one instance."""

from typing import Any

from fastapi import Depends, FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from ledger import __version__
from ledger.http import (
    alerts,
    archive,
    audit,
    blind,
    documentation,
    drift_summary,
    edge,
    erasure,
    explain,
    hooks,
    lists,
    loss,
    operations,
    overrides,
    patience,
    presence,
    problems,
    reach,
    read_log,
    reconciliation,
    responses,
    settings,
    sinks,
    stories,
    stream_tokens,
)
from ledger.http.auth import KeyRing, may_scrape
from ledger.http.delegation import Delegation
from ledger.http.grants import Tokens
from ledger.http.ledger_figures import LedgerFigures
from ledger.http.state import Services

_ROUTERS = (
    hooks.router,
    presence.router,
    presence.of_users,
    lists.presences,
    lists.router,
    stream_tokens.router,
    reach.router,
    audit.router,
    stories.router,
    drift_summary.router,
    loss.router,
    blind.router,
    explain.router,
    reconciliation.record,
    reconciliation.orders,
    alerts.record,
    alerts.orders,
    overrides.router,
    erasure.router,
    archive.record,
    archive.orders,
    read_log.router,
    sinks.record,
    sinks.orders,
    settings.record,
    settings.orders,
    operations.health,
    operations.router,
    documentation.router,
)
"""In the order in which a path is looked for, and described."""


def create_app(services: Services, keys: KeyRing, tokens: Tokens) -> FastAPI:
    """The app of one instance."""
    app = _App(
        title="Presence ledger",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        generate_unique_id_function=documentation.operation_id,
        # A redirect would name the secret in a path once more, and a sender may follow it over plain HTTP.
        redirect_slashes=False,
    )
    _set_state(app, services, keys, tokens)
    problems.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    _add_metrics(app, is_open=services.settings.metrics_scope == "none")
    return app


def _set_state(app: FastAPI, services: Services, keys: KeyRing, tokens: Tokens) -> None:
    app.state.services = services
    app.state.keys = keys
    app.state.tokens = tokens
    app.state.delegation = Delegation(tokens.roots)
    app.state.figures = LedgerFigures(services)
    services.counters.registry.register(app.state.figures)


def _add_metrics(app: FastAPI, *, is_open: bool) -> None:
    app.add_api_route(
        "/metrics",
        operations.get_metrics,
        dependencies=[Depends(may_scrape)],
        responses={} if is_open else {status: responses.PROBLEMS[status] for status in (401, 403, 503)},
        tags=["operations"],
        summary="What this instance counts",
        response_class=PlainTextResponse,
    )


def put_in_force(app: FastAPI, services: Services) -> None:
    """Have requests answered by these services from now on; those under way have theirs."""
    app.state.keys.fix(services.settings.api_keys)
    app.state.figures.services = services
    app.state.services = services


class _App(FastAPI):
    """FastAPI with what every request goes through, and with our description of the routes, made once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            edge.without_last_slash(scope)
            edge.with_whole_names(scope)
            edge.with_token(scope)
        services: Services = self.state.services
        send = edge.guarded(send, scope, services.outages)
        if scope["type"] == "http":
            await patience.answer_in_time(super().__call__, services, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = documentation.describe(self)
        return self.openapi_schema
