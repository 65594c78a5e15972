"""What draws in this week: `runs` for lecture 1, `evidence` for lecture 2."""
