"""What draws in this week: `lecture` for lecture 1, `operations` for lecture 2, `seminar` for the seminar."""
