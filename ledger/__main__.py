"""Runs the command line: `python -m ledger` is `presence-ledger`."""

from ledger.cli.app import main

if __name__ == "__main__":
    main()
