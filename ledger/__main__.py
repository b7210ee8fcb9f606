"""Makes `python -m ledger` the same command as `presence-ledger`."""

from ledger.cli.app import main

main()
