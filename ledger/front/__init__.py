"""The front: what apps and people connect to, in a process of its own: streams, and the API without webhooks."""
