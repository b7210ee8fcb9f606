"""Single values of settings: what each kind may be, and what is said of one that is not."""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from ledger import archive_folder, database_url
from ledger.settings.model import Listen

MIN_SECRET_CHARACTERS = 8
MAX_SECRET_CHARACTERS = 256
MIN_SEAL_KEY_CHARACTERS = 32
YEAR_SECONDS = 31_536_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
_PATH_SAFE = re.compile(r"[A-Za-z0-9._~-]+")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_VISIBLE = re.compile(r"[\x21-\x7e]+")

T = TypeVar("T")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be 1 to 64 ASCII letters, digits or . _ ~ -, starting with a letter or digit: "
            "it is part of the webhook's path"
        )
    return value


def _sink_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 64 ASCII letters, digits or . _ ~ -, starting with a letter or digit")
    return value


def _long_enough(value: str) -> None:
    _check_length(value, MIN_SECRET_CHARACTERS, "anyone who guesses it is let in")


def _check_length(value: str, least: int, reason: str) -> None:
    if not least <= len(value) <= MAX_SECRET_CHARACTERS:
        raise ValueError(f"must have {least} to {MAX_SECRET_CHARACTERS} characters, not {len(value)}: {reason}")


def _webhook_secret(value: str) -> str:
    _long_enough(value)
    if not _PATH_SAFE.fullmatch(value):
        raise ValueError("may contain only ASCII letters, digits and . _ ~ -: it is part of the webhook's path")
    return value


def _api_key(value: str) -> str:
    _long_enough(value)
    return _header_value(value)


def _seal_key(value: str) -> str:
    _check_length(value, MIN_SEAL_KEY_CHARACTERS, "anyone who guesses it can rewrite the ledger unseen")
    if not _VISIBLE.fullmatch(value) or "," in value:
        raise ValueError("may contain only visible ASCII characters, without blanks and commas")
    return value


def _header_value(value: str) -> str:
    if not _VISIBLE.fullmatch(value):
        raise ValueError("may contain only visible ASCII characters, without blanks: it is sent in a header")
    return value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _not_empty(value: list[T]) -> list[T]:
    if not value:
        raise ValueError("is an empty list; leave the key out, or give at least one")
    return value


def _api_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like http://127.0.0.1:5001")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be only an address; the managerToken goes into `token`")
    return value.rstrip("/")


def _forward_url(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be a URL like http://app:8090/v1/webhook")
    if parts.query or parts.fragment:
        raise ValueError("must not have a query: the event's name comes in the one that WuKongIM sends")
    return value


def _database_url(value: str) -> str:
    if _BAD_PERCENT.search(value):
        raise ValueError("contains a % that does not begin an escape: write %25 for a percent sign")
    if value:
        database_url.read(value)
    return value


def _split(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise ValueError("is not a valid URL") from error
    return parts


def _path(value: str) -> str:
    return _expanded(value, "a folder")


def _archive_folder(value: str) -> str:
    if archive_folder.is_bucket(value):
        return str(archive_folder.read(value))
    return _path(value) if value else value


def _days(value: float) -> float:
    # Streams and sinks are promised the changes of a day.
    if 0 < value < 1:
        raise ValueError("must be 0, for never, or at least 1")
    return value


def _file_path(value: str) -> str:
    return _expanded(value, "a file")


def _expanded(value: str, what: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError(f"must be the path of {what}")
    try:
        return str(Path(value).expanduser())
    except RuntimeError as error:
        raise ValueError("names the home of a user who does not exist") from error


def _listen(value: str) -> str:
    parse_listen(value)
    return value


def _front_listen(value: str) -> str:
    return _listen(value) if value else value


def _origin(value: str) -> str:
    parts = _split(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("must be a web origin like https://app.example, without a path")
    return value


def parse_listen(value: str) -> Listen:
    """Reads `host:port`, an IPv6 host in brackets. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or any(blank in host for blank in " \t/"):
        raise ValueError("must be host:port like 127.0.0.1:8640 or [::1]:8640")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("must end in a port from 1 to 65535")
    return Listen(host.strip("[]"), int(port))


Name = Annotated[str, AfterValidator(_name)]
SinkName = Annotated[str, AfterValidator(_sink_name)]
WebhookSecret = Annotated[str, AfterValidator(_webhook_secret)]
ApiKey = Annotated[str, AfterValidator(_api_key)]
SealKeyText = Annotated[str, AfterValidator(_seal_key)]
HeaderValue = Annotated[str, AfterValidator(_header_value)]
ApiUrl = Annotated[str, AfterValidator(_api_url)]
ForwardUrl = Annotated[str, AfterValidator(_forward_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Folder = Annotated[str, AfterValidator(_path)]
ArchiveFolder = Annotated[str, AfterValidator(_archive_folder)]
FilePath = Annotated[str, AfterValidator(_file_path)]
Address = Annotated[str, AfterValidator(_listen)]
OptionalAddress = Annotated[str, AfterValidator(_front_listen)]
WebOrigin = Annotated[str, AfterValidator(_origin)]

ProfileName = Literal["v1", "v2.1", "v2.2", "v3"]
Scope = Literal["read", "watch", "audit", "admin"]
Seconds = Annotated[float, Field(ge=0, le=YEAR_SECONDS)]
Interval = Annotated[float, Field(ge=0.1, le=YEAR_SECONDS)]
Days = Annotated[float, Field(ge=0, le=36_500), AfterValidator(_days)]

NotEmpty = Annotated[list[T], AfterValidator(_not_empty)]
OneOrMore = Annotated[NotEmpty[T], BeforeValidator(_as_list)]
"""A single value may stand for a list of it."""
