"""What draws in this week: `engine` for lecture 2, and the other pages beside it."""
