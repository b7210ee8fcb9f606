"""The read models: each with its tables, how events change them, and the queries of its own rows alone."""
