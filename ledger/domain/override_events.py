"""The events of overrides: an operator's word is put in the place of a user's status, and its end.

Instants are microseconds since the epoch. A field's default is left out of the stored form. `status_before` and
`status_after` are, as in every event of a user, the status by evidence, which an operator's word does not touch.
"""

from typing import Literal, TypeAlias

import msgspec

from ledger.domain.events import Status
from ledger.domain.observation import Instant

Word: TypeAlias = Literal["online", "offline"]
"""What an operator can say of a user."""

WhyEnded: TypeAlias = Literal["expired", "evidence", "deleted", "replaced"]
"""Its time was over; newer evidence came, which it was to give way to; somebody ended it; somebody said another."""


class OverrideSet(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """From `received_at` on the user is shown as the operator says, until it ends, at `expires_at` at the latest."""

    received_at: Instant
    status: Word
    reason: str
    by: str
    """The API key's name."""
    expires_at: Instant
    status_before: Status
    status_after: Status
    until_evidence: bool = False
    """Whether it gives way to newer evidence, too."""
    verdict: Literal["override_set"] = "override_set"
    rule: str = "override_set_by_api"


class OverrideEnded(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """The user is shown by evidence again. `received_at` is the instant since when, however much later it is recorded.

    What is shown does not wait for this event where time or evidence ended it: it only puts that end on record.
    """

    received_at: Instant
    why: WhyEnded
    status: Word
    """What was shown until then."""
    status_before: Status
    status_after: Status
    by: str | None = None
    """The API key's name, where somebody ended it."""
    verdict: Literal["override_ended"] = "override_ended"
    rule: str = "override_over"


UserOverridden: TypeAlias = OverrideSet | OverrideEnded
