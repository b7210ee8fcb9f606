"""Why a database cannot hold a ledger: one class for each reason, with the way out.

It is said at the start, before anything is written. What passes by itself is StoreUnavailable alone, and waited for.
"""

import re
from typing import NamedTuple

import psycopg

from ledger.errors import StoreUnavailable
from ledger.store.session import NOT_OURS


class DatabaseUnfit(StoreUnavailable):
    """Waiting does not help: the database or the settings have to be changed."""


class AccessRefused(DatabaseUnfit):
    """The role, its password or the place it comes from is not let in."""


class DatabaseMissing(DatabaseUnfit):
    """The server has no database of that name."""


class WrongEncoding(DatabaseUnfit):
    """The database cannot hold every uid: its encoding is not UTF8."""


class DatabaseReadOnly(DatabaseUnfit):
    """Nothing can be written: a standby, or set so."""


class CreateRefused(DatabaseUnfit):
    """The role may not make the ledger's tables."""


class TooFewConnections(DatabaseUnfit):
    """The role, the database or the server allows fewer than an instance needs."""


class PooledByTransaction(DatabaseUnfit):
    """A pooler hands out sessions for one transaction at a time."""


class DatabasesDiffer(DatabaseUnfit):
    """The two ways to the database lead to two."""


class ServerTooOld(DatabaseUnfit):
    """The server is of a version that lacks what is needed."""


class SessionRefused(DatabaseUnfit):
    """The server does not know, or does not allow, what a session of ours is set to."""


class _Refusal(NamedTuple):
    mark: re.Pattern[str]
    kind: type[DatabaseUnfit]
    what: str
    way_out: str


DEDICATED = (
    "Name PostgreSQL's own address, or a pool with pool_mode = session, in database_session_url; "
    "database_url may then be a pool with pool_mode = transaction."
)
"""The way out where a pooler lends sessions too briefly, whichever of the two URLs it is of."""

_CHECK_USER = "Check the user and the password in {url}."

_REFUSALS = (
    _Refusal(
        re.compile(r"authentication failed|no password supplied|no such user"),
        AccessRefused,
        "PostgreSQL does not accept this user with this password",
        _CHECK_USER,
    ),
    _Refusal(
        re.compile(r"role \".*\" (does not exist|is not permitted to log in)"),
        AccessRefused,
        "PostgreSQL has no such user, or they may not log in",
        "Make it (CREATE ROLE name LOGIN PASSWORD '…'), or correct the user in {url}.",
    ),
    _Refusal(
        re.compile(r"no pg_hba.conf entry|pg_hba.conf rejects"),
        AccessRefused,
        "PostgreSQL does not let this user in from here",
        "Add a line to pg_hba.conf of the server; where it wants TLS, add sslmode=require to {url}.",
    ),
    _Refusal(
        re.compile(r"permission denied for database"),
        AccessRefused,
        "The user may not connect to this database",
        "Grant it: GRANT CONNECT ON DATABASE name TO user.",
    ),
    _Refusal(
        re.compile(r"does not support SSL|certificate verify failed|root certificate file"),
        AccessRefused,
        "TLS with PostgreSQL could not be set up",
        "Check sslmode and sslrootcert in {url}.",
    ),
    _Refusal(
        re.compile(r"database \".*\" does not exist|no such database"),
        DatabaseMissing,
        "PostgreSQL has no such database",
        "Make it (CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8'), or correct the name in {url}.",
    ),
    _Refusal(
        re.compile(r"conversion between|invalid value for parameter \"client_encoding\""),
        WrongEncoding,
        "The database's encoding cannot be converted to UTF8",
        "Make another one with CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8'.",
    ),
    _Refusal(
        re.compile(r"session is read-only"),
        DatabaseReadOnly,
        "No host in {url} takes writes",
        "Promote one, or name the address of the primary.",
    ),
    _Refusal(
        re.compile(NOT_OURS),
        SessionRefused,
        "This server is not PostgreSQL, or denies the role what it needs",
        "Name a PostgreSQL in {url}.",
    ),
    _Refusal(
        re.compile(r"unsupported startup parameter|transaction blocks not allowed in statement pooling"),
        PooledByTransaction,
        "The pooler in front of PostgreSQL does not provide dedicated sessions",
        DEDICATED,
    ),
)
"""What libpq and the server say before there is a session; no code comes with it.

Of a server that speaks another language nothing is recognised: it is waited for, and then shown as it is.
"""

_PASSES = re.compile(
    r"the database system is|[Cc]onnection refused|timeout expired|too many (clients|connections)|reserved"
)


def from_connection_error(error: psycopg.Error, setting: str) -> DatabaseUnfit | None:
    """What keeps a connection from being made, where waiting does not help with any of the hosts.

    `setting` is where its URL stands.
    """
    said = str(error)
    if _PASSES.search(said):
        return None
    found = next((each for each in _REFUSALS if each.mark.search(said)), None)
    if found is None:
        return None
    return found.kind(f"{found.what.format(url=setting)}: {reason(error)}.\n{found.way_out.format(url=setting)}")


def reason(error: BaseException) -> str:
    """An error in one line; of a failed connection, what the server or the system said."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line.rpartition("FATAL:  ")[2].removeprefix("connection failed: ").strip().rstrip(".")
