"""The ASGI application: routes, problems and documentation around the services of one instance."""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from ledger import __version__
from ledger.http import audit, hooks, operations, presence, problems, schemas
from ledger.http.auth import KeyRing, require
from ledger.http.state import Services


def create_app(services: Services, keys: KeyRing) -> FastAPI:
    """The app of one instance."""
    app = FastAPI(title="Presence ledger", version=__version__, docs_url="/docs", redoc_url=None)
    app.state.services = services
    app.state.keys = keys
    problems.install(app)
    for router in (hooks.router, presence.router, audit.router, operations.health, operations.router):
        app.include_router(router)
    scope = services.settings.metrics_scope
    app.add_api_route(
        "/metrics",
        operations.metrics,
        dependencies=[] if scope == "none" else [Depends(require(scope))],
        tags=["operations"],
        summary="What this instance counts",
    )
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's description with what it cannot know: the API key, and problems instead of its own errors."""
    if app.openapi_schema is None:
        description = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = description.setdefault("components", {})
        components.setdefault("schemas", {})["ProblemBody"] = schemas.ProblemBody.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        components["schemas"].update(components["schemas"]["ProblemBody"].pop("$defs", {}))
        components["schemas"].pop("HTTPValidationError", None)
        components["schemas"].pop("ValidationError", None)
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations_of_path in description["paths"].items():
            for operation in operations_of_path.values():
                if not path.startswith(("/hooks", "/health")):
                    operation["security"] = [{"key": []}]
                problem = operation["responses"].get("422")
                if problem is not None:
                    problem["content"] = schemas.PROBLEMS[422]["content"]
        app.openapi_schema = description
    return app.openapi_schema
