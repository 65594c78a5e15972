"""`grader serve`: a student pushes, and reads a table of public checks within a minute. It writes no grades."""
