"""Sinks: what changes is told to receivers, each with a checkpoint of its own."""
