"""What draws in this week: `evidence` for lecture 2."""
