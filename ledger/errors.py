"""The errors that callers may meet: one small tree, each with a message that names the way out.

Expected outcomes of the rules are values (verdicts); what stands here is a caller's mistake or broken infrastructure.
The command line prints `str(error)` and exits 1; HTTP turns each class into one problem (`ledger.http.problems`).
"""


class LedgerError(Exception):
    """Anything presence ledger itself reports; its text is one or two lines for the person who has to act."""


class SettingsError(LedgerError):
    """A setting is unknown or bad; the text names the line of the file or the variable."""


class DataFolderInUse(LedgerError):
    """Another running service holds the data folder."""


class StoreUnavailable(LedgerError):
    """PostgreSQL did not answer or lock within the bound; nothing was stored by this call as far as is known."""


class LedgerWentBack(StoreUnavailable):
    """The database lacks commits that were known, or is in a new epoch: what was learnt of it no longer holds."""

    def __init__(self) -> None:
        super().__init__("the ledger went back, or a slice was imported: what was in progress starts again")


class StoreBusy(StoreUnavailable):
    """PostgreSQL is there and does not keep up with questions of this kind."""


class StoreFull(StoreUnavailable):
    """PostgreSQL refused to write because its disk is full."""


class SchemaMismatch(LedgerError):
    """The database's schema is too new for this version, or its migrations are not ours."""


class EmbeddedPostgresError(LedgerError):
    """The embedded PostgreSQL could not be created, started or stopped."""


class SealKeyMissing(LedgerError):
    """Seals cannot be checked: none of the keys that made them is here."""


class LedgerAltered(LedgerError):
    """The ledger is not what was sealed; the text names the first position."""


class RequestError(LedgerError):
    """The service answered a command-line query with a problem, or could not be reached."""
