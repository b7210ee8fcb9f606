"""The command `serve`: the service itself is imported when it is run, so that `serve --help` answers at once."""

from functools import partial

import typer

from ledger.cli.invocation import settings_from


def serve(context: typer.Context) -> None:
    """Run the service: take webhooks, keep the ledger, answer who is online.

    Uses the embedded PostgreSQL in `data_dir` unless `database_url` is set. SIGTERM or Ctrl-C stops it within ten
    seconds, and everything it answered 200 for is in the ledger. SIGHUP, like `presence-ledger reload`, has it take
    changed settings.

    Example: presence-ledger --config /etc/presence-ledger.toml serve
    """
    settings = settings_from(context)
    read = partial(settings_from, context)
    from ledger.cli.serving import run  # noqa: PLC0415  (what it needs takes a second)

    run(settings, read)
