"""Comparisons that anyone can repeat: `python -m grader.bench.against_nbgrader`; what they found is in `results/`."""
