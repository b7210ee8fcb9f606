"""What can go wrong when the service is asked, as exceptions: its problems by status, and what is no answer of it."""

import msgspec


class ClientError(Exception):
    """Anything that this client raises."""


class Unreachable(ClientError):
    """No service answers at the address, and the `reason`; trying again may help."""

    def __init__(self, text: str, reason: object = "") -> None:
        super().__init__(text)
        self.reason = str(reason)


class TimedOut(Unreachable):
    """The service did not answer in time."""


class NotPresenceLedger(ClientError):
    """What answers at the address is something else."""


class FieldFault(msgspec.Struct, frozen=True):
    """A field of a request at fault, and what is wrong with it."""

    field: str
    detail: str


class Problem(ClientError):
    """An error that the service answered (RFC 9457).

    `status` is HTTP's, `errors` names the fields at fault, `retry_after` is how many seconds to wait, where it says so.
    """

    def __init__(
        self, status: int, title: str, detail: str = "", errors: tuple[FieldFault, ...] = (),
        retry_after: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__(": ".join(part for part in (title, detail) if part))
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after


class Unauthorized(Problem):
    """401: no key or token, or one that is unknown, revoked or expired."""


class Forbidden(Problem):
    """403: the key lacks the scope, or the token is for other users."""


class NotFound(Problem):
    """404: there is no such thing, such as a list of that name."""


class Invalid(Problem):
    """422: a field is invalid; `errors` names it."""


class Unavailable(Problem):
    """503: try again after `retry_after` seconds."""


_BY_STATUS: dict[int, type[Problem]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 422: Invalid, 503: Unavailable
}  # fmt: skip


class _Body(msgspec.Struct):
    title: str
    detail: str = ""
    errors: tuple[FieldFault, ...] = ()


_decode = msgspec.json.Decoder(_Body).decode


def from_answer(status: int, body: bytes, retry_after: str | None) -> ClientError:
    """The error that an answer with this status is."""
    try:
        said = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return NotPresenceLedger(f"an answer with status {status} that is none of presence ledger's")
    seconds = float(retry_after) if retry_after is not None and retry_after.isdigit() else None
    return _BY_STATUS.get(status, Problem)(status, said.title, said.detail, said.errors, seconds)


def is_lasting(error: ClientError) -> bool:
    """Whether asking for the same again would fail alike, so that it is the caller who has to act."""
    if isinstance(error, NotPresenceLedger):
        return False  # a proxy on the way says such things while the service restarts
    return isinstance(error, Problem) and error.status < 500 and error.status not in (408, 429)
