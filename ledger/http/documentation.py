"""The API's own description, `/openapi.json`, and the page that shows it, `/docs`, with assets of its own."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from inspect import cleandoc
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from msgspec import Struct
from starlette.responses import HTMLResponse, JSONResponse

from ledger.http import alert_answers, answers, list_answers, setting_answers, source_answers, story_answers
from ledger.http.auth import require
from ledger.http.examples import add_examples
from ledger.http.responses import problem, reference
from ledger.working_state import runs

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
    components["schemas"] = _schemas()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
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


def _schemas() -> dict[str, Any]:
    """The schema of each struct that is answered, by its name."""
    structs = {runs.RunCountsBody} | {
        each
        for module in (alert_answers, answers, list_answers, setting_answers, source_answers, story_answers)
        for each in (*vars(module).values(), *story_answers.ENTRIES.values())
        if isinstance(each, type) and issubclass(each, Struct) and each is not Struct
    }
    found: dict[str, Any]
    _, found = msgspec.json.schema_components(structs, ref_template=reference("{name}")["$ref"])
    for struct in structs:
        found[struct.__name__]["required"] = _always_there(struct)
    for schema in found.values():
        schema["description"] = cleandoc(schema.get("description", ""))
        _specify(schema)
    kinds = {kind: reference(struct.__name__)["$ref"] for kind, struct in story_answers.ENTRIES.items()}
    found["Entry"] = {
        "oneOf": [{"$ref": name} for name in dict.fromkeys(kinds.values())],
        "discriminator": {"propertyName": "kind", "mapping": kinds},
    }
    return found


def _always_there(struct: type[Struct]) -> list[str]:
    """The fields that every answer has; a default is left out of it only where the struct leaves out defaults."""
    fields = msgspec.structs.fields(struct)
    return [
        each.encode_name
        for each in fields
        if each.required or not (struct.__struct_config__.omit_defaults or each.default is msgspec.UNSET)
    ]


def _specify(schema: Any) -> None:
    """Say the width of each integer and that names are strings, in place."""
    match schema:
        case {"type": "integer"}:
            schema["format"] = "int64"
        case {"enum": list(), **rest} if "type" not in rest:
            schema["type"] = "string"
        case dict():
            for each in schema.values():
                _specify(each)
        case list():
            for each in schema:
                _specify(each)
