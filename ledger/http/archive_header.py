"""How an answer says that files of the archive were read for it."""

HEADER = "Presence-Ledger-Archived-Before"
"""The first position that is not archived."""


def archived(before: int | None) -> dict[str, str]:
    """The headers of an answer; None: the database had all of it."""
    return {} if before is None else {HEADER: str(before)}
