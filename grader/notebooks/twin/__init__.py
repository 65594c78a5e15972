"""A notebook's two interpreters: the tests in a pristine one, which asks the student's for calls and values."""
