"""The read models: each with its tables, its handler and the queries of its own rows."""
