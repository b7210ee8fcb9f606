"""Forwarding: the webhooks that a business server had before, handed on to it as they came."""
