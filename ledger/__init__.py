"""Presence ledger: who was online when, from WuKongIM's webhooks, kept as immutable events."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# In the repository `projections` stands beside this package. Installed, it stands within, so that this package's is the
# only name that others might have as well.
_WITHIN = Path(__file__).parent / "packages"
if _WITHIN.is_dir() and str(_WITHIN) not in sys.path:
    sys.path.insert(0, str(_WITHIN))
