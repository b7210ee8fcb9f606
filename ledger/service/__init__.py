"""The service's life: its parts, its processes, start and stop, and what is put on record of it."""
