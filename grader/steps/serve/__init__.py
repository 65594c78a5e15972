"""`grader serve`: a student pushes, and reads a table of public checks. It writes no grades."""
