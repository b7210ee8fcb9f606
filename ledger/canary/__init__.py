"""Canaries: users of our own who come to the nodes and go, so that it is known whether webhooks come, and how fast."""
