"""What draws in this week: `arithmetic` for lecture 1, `data` for lecture 2, `seminar` for the seminar."""
