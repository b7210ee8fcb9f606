"""The HTTP side: webhooks in, presences and events out."""
