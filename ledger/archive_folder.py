"""Where the archive's files are: in a folder, or in a bucket of S3-compatible storage. No I/O."""

import re
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

SCHEME = "s3://"

FORM = "must be the path of a folder, or s3://BUCKET/PREFIX"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_REGION = re.compile(r"[A-Za-z0-9-]+")


class Bucket(NamedTuple):
    """Objects under a prefix: `s3://BUCKET/PREFIX?endpoint=https://HOST:PORT&region=REGION`.

    Who asks for them is known by the environment (AWS_ACCESS_KEY_ID …), and never by the URL.
    """

    name: str
    prefix: str = ""
    """Without a slash at either end; empty: the whole bucket."""
    endpoint: str = ""
    """The URL of the storage; empty: Amazon's."""
    region: str = ""
    """Empty: as the environment says."""

    def __str__(self) -> str:
        query = urlencode({name: value for name in ("endpoint", "region") if (value := getattr(self, name))}, safe=":/")
        return f"{SCHEME}{quote(self.path)}{query and '?'}{query}"

    @property
    def path(self) -> str:
        """The bucket and the prefix, as objects' names begin."""
        return f"{self.name}/{self.prefix}" if self.prefix else self.name


Folder: TypeAlias = Path | Bucket


def is_bucket(text: str) -> bool:
    """Whether a text is meant to be a bucket's, or anything but a folder on a disk."""
    return "://" in text


def read(text: str) -> Folder:
    """The folder of which `str` gave a text. Raises ValueError, which says what is wrong with it."""
    return _bucket(text) if is_bucket(text) else Path(text)


def _bucket(text: str) -> Bucket:
    parts = urlsplit(text)
    if parts.scheme != "s3" or parts.fragment:
        raise ValueError(FORM)
    if "@" in parts.netloc:
        raise ValueError("must not hold a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
    if not _NAME.fullmatch(parts.netloc):
        raise ValueError(FORM)
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := found.keys() - {"endpoint", "region"}:
        raise ValueError(f"has '{min(unknown)}' after the '?', where endpoint and region may be")
    endpoint, region = found.get("endpoint", ""), found.get("region", "")
    if endpoint:
        _check_endpoint(endpoint)
    if region and not _REGION.fullmatch(region):
        raise ValueError("has a region that is not a name such as eu-central-1")
    return Bucket(parts.netloc, unquote(parts.path).strip("/"), endpoint.rstrip("/"), region)


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or "@" in parts.netloc:
        raise ValueError("has an endpoint that is not a URL like https://storage.example:9000")
