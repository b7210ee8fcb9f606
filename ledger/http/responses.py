"""How routes describe their answers in OpenAPI: by the structs that they encode, and by the problems they may meet."""

from typing import Any

import msgspec

Responses = dict[int | str, dict[str, Any]]

CURSOR = "`after` is not a cursor of this list"
UID = "a uid is empty, over 1,024 bytes, or holds NUL or half a character"
INSTANT = "an instant that is a leap second, or outside of the years 1 to 9999 in UTC"
BACKWARDS = f"`to` is before `from`; {INSTANT}"
TOO_LONG = "`from` is more than 92 days before `to`, or before now"
SOURCE = "`source` holds NUL"
FRACTION = "`position` is written with a fraction, such as 7.0"
JSON = "the body is not JSON in UTF-8, such as half a character in a text"
MOMENT = (
    f"{INSTANT}; "
    "`known_at` or `position` without `at`, or both of them; an instant in the future, or `known_at` before `at`; a "
    "`position` beyond the head"
)


ANSWERED: set[type[msgspec.Struct]] = set()
"""The structs that routes answer, as these say where they are declared."""


def reference(name: str) -> dict[str, str]:
    """A component of the description."""
    return {"$ref": f"#/components/schemas/{name}"}


def answered(body: type[msgspec.Struct], *texts: str) -> Responses:
    """The 200 that is this struct as JSON or, where `Accept` asks for it, one of these media types."""
    ANSWERED.add(body)
    content: dict[str, Any] = {"application/json": {"schema": reference(body.__name__)}}
    return {200: {"content": content | {media: {"schema": {"type": "string"}} for media in texts}}}


def answered_either(*bodies: type[msgspec.Struct]) -> Responses:
    """The 200 that is one of these structs as JSON."""
    ANSWERED.update(bodies)
    schema = {"anyOf": [reference(body.__name__) for body in bodies]}
    return {200: {"content": {"application/json": {"schema": schema}}}}


def problem(description: str) -> dict[str, Any]:
    """A response that is a problem."""
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": reference("ProblemBody")}},
    }


def refused(*cases: str) -> Responses:
    """The 422 of a route that also refuses what no schema can say."""
    return {422: problem(f"A field is invalid, `errors` names it: {'; '.join((*cases, 'an unknown parameter'))}")}


PROBLEMS: Responses = {
    401: problem("No API key, or an unknown or revoked one"),
    403: problem("The key lacks the scope"),
    422: problem("A field is invalid, `errors` names it: an unknown parameter"),
    503: problem("PostgreSQL does not answer, or a file of the archive is missing or altered"),
}
