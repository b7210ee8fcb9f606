"""Ingest: webhooks become drafts, drafts become events, many at a time in one commit."""
