"""Checks the API's description against the running service: valid, with the examples it really gives, and no 5xx."""

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, CheckFunction, load_all_checks
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.schemas import OpenApiSchema

from ledger.http import examples
from tests.support.examples import answers, fresh, masked
from tests.support.refused import told_of
from tests.support.service import KEYS, PATIENCE_SECONDS, Api, Service

ROUTES = {
    ("POST", "/hooks/{source}/{node}/{secret}"),
    ("GET", "/v1/users/{uid}/presence"),
    ("POST", "/v1/presence/query"),
    ("GET", "/v1/presence"),
    ("POST", "/v1/reach/query"),
    ("GET", "/v1/presence/summary"),
    ("GET", "/v1/users/{uid}/events"),
    ("GET", "/v1/users/{uid}/timeline"),
    ("GET", "/v1/users/{uid}/sessions"),
    ("GET", "/v1/users/{uid}/explain"),
    ("GET", "/v1/ledger/events"),
    ("GET", "/v1/deliveries/{delivery}"),
    ("GET", "/v1/sources"),
    ("GET", "/v1/sources/{source}/runs"),
    ("POST", "/v1/sources/{source}/reconcile"),
    ("GET", "/v1/runs/{run}"),
    ("GET", "/v1/drift"),
    ("GET", "/v1/drift/summary"),
    ("GET", "/v1/loss"),
    ("GET", "/v1/blind"),
    ("GET", "/v1/users/{uid}/tier"),
    ("PUT", "/v1/users/{uid}/tier"),
    ("PUT", "/v1/users/{uid}/override"),
    ("DELETE", "/v1/users/{uid}/override"),
    ("POST", "/v1/users/{uid}/erase"),
    ("GET", "/v1/archive"),
    ("POST", "/v1/archive"),
    ("GET", "/v1/users/{uid}/reads"),
    ("GET", "/v1/lists"),
    ("GET", "/v1/lists/{name}"),
    ("PUT", "/v1/lists/{name}"),
    ("PATCH", "/v1/lists/{name}"),
    ("DELETE", "/v1/lists/{name}"),
    ("GET", "/v1/lists/{name}/presence"),
    ("GET", "/v1/lists/{name}/summary"),
    ("POST", "/v1/stream/tokens"),
    ("GET", "/v1/alerts"),
    ("POST", "/v1/alerts/{alert}/acknowledge"),
    ("GET", "/v1/sinks"),
    ("GET", "/v1/settings"),
    ("POST", "/v1/settings/reload"),
    ("POST", "/v1/sinks/{name}/pause"),
    ("POST", "/v1/sinks/{name}/resume"),
    ("POST", "/v1/sinks/{name}/replay"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/metrics"),
}


@pytest.fixture(scope="module")
def description(api: Api) -> Any:
    return api.get("/openapi.json")


@pytest.fixture(scope="module")
def schema(description: Any) -> OpenApiSchema:
    load_all_checks()
    return from_dict(description)


@pytest.mark.slow
def test_the_examples_are_what_the_service_answers(data_dir: Path) -> None:
    with fresh(data_dir) as (service, stop_database):
        assert masked(answers(service, stop_database)) == masked(examples.ANSWERS)


def test_every_route_is_described_with_an_example_of_each_answer(description: Any, schema: OpenApiSchema) -> None:
    schema.validate()
    operations = {
        (method.upper(), path): operation
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == ROUTES
    for (method, path), operation in operations.items():
        for status, response in operation["responses"].items():
            for media, content in response.get("content", {}).items():
                assert "example" in content, (method, path, status, media)
        assert ("security" in operation) == (not path.startswith(("/hooks", "/health")))
        assert operation["summary"]


def test_the_page_shows_without_another_host(api: Api) -> None:
    page = api.http.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].count("'sha256-") == page.text.count("<script>") == 1
    assert "https://" not in page.text.partition("SwaggerUIBundle(")[0]
    for asset in ("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"):
        assert asset in page.text
        assert api.http.get(asset).status_code == 200
    with Api(api.service, None) as stranger:
        assert stranger.http.get("/docs").status_code == 401
        assert stranger.http.get("/openapi.json").status_code == 401
        assert stranger.http.get("/docs", auth=("any", KEYS["read"])).status_code == 200
        for header in (b"Basic !", b"Basic \xe9", b"Basic /w==", b"Basic dTp3"):
            assert stranger.http.get("/docs", headers={b"Authorization": header}).status_code == 401


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", sorted(route for route in ROUTES if "/v1/" in route[1]), ids=" ".join)
def test_no_request_gets_an_answer_that_is_not_described(
    service: Service, api: Api, description: Any, schema: OpenApiSchema, route: tuple[str, str], mode: GenerationMode
) -> None:
    """Whatever is asked, rightly or wrongly: no 5xx, and answers of a shape and status that the route describes."""
    method, path = route
    api.deliver("u100-0-1-1-1-1")
    checks = cast(
        list[CheckFunction],
        CHECKS.get_by_names(
            ["not_a_server_error", "content_type_conformance", "response_schema_conformance", "status_code_conformance"]
        ),
    )
    operation = schema[path][method]
    responses = description["paths"][path][method.lower()]["responses"]

    @settings(
        max_examples=5,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        answer = case.call_and_validate(
            base_url=service.url, headers=dict(api.http.headers), checks=checks, timeout=PATIENCE_SECONDS
        )
        if mode is GenerationMode.POSITIVE and answer.status_code == 422:
            told = told_of(answer.json()["detail"])
            assert told in responses["422"]["description"], told

    ask()
    assert '"defect"' not in service.log()
