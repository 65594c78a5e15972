"""`make demo`: week 1's seminar, then a class of honest, broken and hostile submissions, graded."""
