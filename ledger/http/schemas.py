"""The shapes of the API's answers, for its documentation; for speed, the answers are encoded without them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

StatusName = Literal["online", "offline", "unknown"]


class FieldError(BaseModel):
    field: str
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def problem(description: str) -> dict[str, Any]:
    """A response of OpenAPI that is a problem."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: problem("No API key, or an unknown or revoked one"),
    403: problem("The key lacks the scope"),
    422: problem("A field is invalid; `errors` names it"),
    503: problem("PostgreSQL does not answer"),
}


class CauseBody(BaseModel):
    """The event that made the status what it is."""

    kind: str
    at: str
    position: int


class DeviceBody(BaseModel):
    """One device flag of the user in one source; `device_flag` is null where only a total tells of a session."""

    source: str
    device_flag: int | None
    device: str
    status: StatusName
    since: str
    sessions: int


class AsOfBody(BaseModel):
    """The instant and the ledger position that the answer was made at."""

    at: str
    position: int


class Presence(BaseModel):
    """What is said of one user."""

    uid: str
    status: StatusName
    since: str | None
    last_seen_at: str | None
    devices: list[DeviceBody]
    cause: CauseBody | None
    reason: Literal["never_observed", "node_down", "source_dark"] | None
    verified_at: str | None
    version: int
    as_of: AsOfBody


class PresenceItems(BaseModel):
    items: list[Presence]


class PresencePage(PresenceItems):
    next: str | None


class UserCounts(BaseModel):
    online: int
    offline: int
    unknown: int


class FlagCount(BaseModel):
    source: str
    device_flag: int | None
    devices: int


class NodeCount(BaseModel):
    source: str
    node: str
    devices: int


class Summary(BaseModel):
    """Users by status; devices online by device flag and by the node that told of them."""

    users: UserCounts
    devices_online: list[FlagCount]
    nodes: list[NodeCount]
    as_of: AsOfBody


class EventBody(BaseModel):
    """A stored event: its place, and the fields of its kind."""

    model_config = ConfigDict(extra="allow")

    position: int
    version: int
    kind: str
    recorded_at: str
    uid: str | None = None
    source: str | None = None


class EventPage(BaseModel):
    items: list[EventBody]
    next: str | None


class DeliveryBody(BaseModel):
    """One webhook POST, and a page of what became of its items, in their order."""

    delivery: EventBody
    items: list[EventBody]
    next: str | None


class NodeBody(BaseModel):
    name: str
    profile: str
    last_webhook_at: str | None
    highest_conn_id: int
    down_since: str | None
    since_start: dict[str, int]


class SourceBody(BaseModel):
    """A source as the ledger has it; `since_start` is what this instance counted."""

    name: str
    profile: str
    version: int
    last_webhook_at: str | None
    dark_since: str | None
    nodes: list[NodeBody]


class SourceItems(BaseModel):
    items: list[SourceBody]
    forbidden_since_start: int
