"""Benchmarks: one script a question, each with a bar that it holds the product to."""
