"""Uids that differ from one which the ledger has never heard of by case or blanks alone: what was meant, perhaps.

Only what can be looked up by key is looked for, a few dozen forms of each: no user's key is compared in any other way.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ledger.cli.output import say
from ledger.cli.words import told
from ledger.errors import RequestError
from ledger.text import printable

if TYPE_CHECKING:
    from ledger.cli.client import ServiceClient

MAX_UIDS = 100
"""Users for whom others are looked for in one call."""

MAX_UID_BYTES = 1024

_BLANKS = (" ", "\n", "\r\n", "\t", "\u00a0", "\u200b", "\ufeff")
"""What is pasted along with a uid."""


def near(uid: str) -> tuple[str, ...]:
    """The uids that differ from this one by case or blanks and are looked for; not itself."""
    return tuple(each for each in dict.fromkeys(_forms(uid)) if each not in {"", uid} and _fits(each))


def suggest(service: "ServiceClient", uids: Sequence[str]) -> None:
    """Say, of those whom the service has never heard of, who else may have been meant."""
    forms = {uid: near(uid) for uid in uids[:MAX_UIDS]}
    asked = list(dict.fromkeys(each for uid, found in forms.items() for each in (uid, *found)))
    if not asked:
        return
    try:
        found = service.presences(asked)
    except RequestError:
        return  # what was asked has been answered; this is only a hint
    seen = {each["uid"] for each in found if each.get("reason") != "never_observed"}
    say_near({uid: [each for each in found if each in seen] for uid, found in forms.items() if uid not in seen})


def say_near(found: dict[str, list[str]]) -> None:
    """Say who may have been meant by each."""
    for uid, others in found.items():
        if others:
            named = ", ".join(_quoted(each) for each in others)
            say(told("nothing was ever heard of {uid}; did you mean {others}?", uid=_quoted(uid), others=named))


def _forms(uid: str) -> Iterator[str]:
    whole = unicodedata.normalize("NFKC", uid)
    for base in (uid, uid.strip(), "".join(uid.split()), whole, whole.strip("".join(_BLANKS))):
        yield from (base, base.lower(), base.upper(), base.capitalize(), base.title(), base.swapcase())
    for base in (uid.strip(), uid.strip().lower()):
        for blank in _BLANKS:
            yield from (base + blank, blank + base)


def _fits(uid: str) -> bool:
    try:
        return len(uid.encode()) <= MAX_UID_BYTES
    except UnicodeEncodeError:
        return False


def _quoted(uid: str) -> str:
    """As it is; in quotation marks where blanks at its ends would not show."""
    shown = printable(uid)
    return shown if shown == uid.strip() else f"'{shown}'"
