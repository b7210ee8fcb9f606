"""Changes: what is shown of users and sources, told in the order of the ledger whenever it becomes another."""
