"""Events that left the database: sealed files, what is in them, and whether they are as they were written."""
