"""The examples of the API's description: what a running service answered, held by a test to what it answers now."""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

COMMON = "every route"

ANSWERS: Mapping[str, Mapping[str, Any]] = json.loads(
    files("ledger.http").joinpath("examples.json").read_text(encoding="utf-8")
)
"""By `METHOD /path/{as}/in/the/description` and then by status; an `ndjson` and a text stand as they were sent."""

NDJSON = "200 as lines"
TEXT = "200 as text"


_OTHER_FORMS = {"application/x-ndjson": NDJSON, "text/plain": TEXT}


def add_examples(method: str, path: str, responses: dict[str, Any]) -> None:
    """Give each response of a route its example; `responses` are OpenAPI's, changed in place."""
    answers = {**ANSWERS[COMMON], **ANSWERS.get(f"{method.upper()} {path}", {})}
    for status, response in responses.items():
        for media, content in response.get("content", {}).items():
            example = answers.get(_OTHER_FORMS.get(media, status), answers.get(status))
            if example is not None:
                content["example"] = example
