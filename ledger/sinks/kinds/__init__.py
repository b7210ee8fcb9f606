"""The kinds of sinks: one module each, whose `build` makes a Kind of its settings."""
