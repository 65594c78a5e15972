"""What draws, a module for each page: `runs` for lecture 1, `evidence` for lecture 2, `seminar` for the seminar."""
