"""What people met from outside, case by case, on real processes and a real PostgreSQL."""
