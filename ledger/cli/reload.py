"""The command `reload`: has the running service take changed settings, and says what came of it."""

from collections.abc import Sequence

import typer

from ledger.cli.client import Json, client
from ledger.cli.drawing import print_table
from ledger.cli.invocation import settings_from
from ledger.cli.output import AsJson, print_json, say
from ledger.cli.queries import Url
from ledger.cli.words import told
from ledger.text import visible


def reload(context: typer.Context, as_json: AsJson = False, url: Url = None) -> None:
    """Have the running service take changed settings, without a webhook refused, as SIGHUP does.

    Shows what it has taken, and what needs a restart. Settings with an error change nothing. Each instance is told for
    itself.

    Example: presence-ledger --config /etc/presence-ledger.toml reload
    """
    with client(settings_from(context), url) as service:
        found = service.reload()
    if as_json:
        print_json(found)
        return
    if not found["taken"] and not found["restart"]:
        say(told("the settings are those in force: nothing has changed"))
        return
    print_table(("setting", "change", "in force"), _rows(found))
    if found["restart"]:
        say(told("what is not in force needs a restart: until then what was there before holds"))


def _rows(found: Json) -> list[Sequence[object]]:
    return [
        (visible(each["setting"]), told(each["change"]), told("yes" if name == "taken" else "after a restart"))
        for name in ("taken", "restart")
        for each in found[name]
    ]
