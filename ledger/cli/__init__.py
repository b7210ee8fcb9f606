"""The command line `presence-ledger`: one module for each command."""
