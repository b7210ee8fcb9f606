"""What an instance knows of users without PostgreSQL, and answers with, marked, while that is away."""
