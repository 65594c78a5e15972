"""What draws in this week: `formats` for lecture 1, `engine` for lecture 2, `seminar` for the seminar."""
