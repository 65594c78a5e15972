"""What is kept of a class, and all that knows nbgrader."""
