"""The API's own description, `/openapi.json`, and the page that shows it, `/docs`, with assets of its own."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from starlette.responses import HTMLResponse, JSONResponse

from ledger.http import schemas
from ledger.http.auth import require
from ledger.http.examples import add_examples
from ledger.http.responses import problem

POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles of its own within the page; it loads nothing but its assets."""
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}

# A browser cannot send a bearer key with a page; it can ask its user for a password.
router = APIRouter(dependencies=[Depends(require("read", basic=True))], include_in_schema=False)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The description of every route."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """The description as a page to read and try."""
    # Within the page: a browser that was given the key in the page's URL refuses to fetch another one with it.
    shown = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Presence ledger",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"spec": request.app.openapi()},
    )
    shown.headers["Content-Security-Policy"] = _policy(bytes(shown.body))
    return shown


def _policy(html: bytes) -> str:
    """The page's own scripts by their digests and its assets; nothing of another host, and no frame around it."""
    digests = [b64encode(sha256(script).digest()).decode() for script in _INLINE.findall(html)]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return f"{POLICY}; script-src {scripts}"


def _asset(name: str) -> Response:
    content = (files("fastapi_swagger") / "resources" / name).read_bytes()
    return Response(content, media_type=ASSETS[name], headers={"Cache-Control": "private, max-age=86400"})


@router.get("/docs/swagger-ui-bundle.js")
def script() -> Response:
    """Swagger UI itself."""
    return _asset("swagger-ui-bundle.js")


@router.get("/docs/swagger-ui.css")
def style() -> Response:
    """Its style sheet."""
    return _asset("swagger-ui.css")


def describe(app: Any) -> dict[str, Any]:
    """FastAPI's description with what it cannot know: the answers' structs, the key, and problems for its errors."""
    description = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = description.setdefault("components", {})
    # What FastAPI has there are its own errors.
    components["schemas"] = schemas.components()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            schemas.describe_parameters(operation.get("parameters", ()))
            responses = operation["responses"]
            if path.startswith(("/hooks", "/health")):
                responses.pop("422", None)
            else:
                operation["security"] = [{"key": []}]
            for status, response in responses.items():
                if status >= "400":
                    response["content"] = problem("")["content"]
            add_examples(method, path, responses)
    return description


def operation_id(route: Any) -> str:
    """The name of a route's operation, which clients that are made from the description call it by: `getPresence`."""
    first, *rest = route.name.split("_")
    return "".join([first, *(word.title() for word in rest)])
