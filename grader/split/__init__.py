"""Plain nbgrader notebooks with their tests in an interpreter that no student's code runs in.

plan.py     what each cell is, and in which interpreter it runs: read from the instructor's notebook
decide.py   how that is found out, when an assignment is released: by running the reference
run.py      the examiner's side: two sandboxed workers, the student's and the pristine one
workers.py  what runs in them
peer.py     requests between them, and handles on what is not plain data
objects.py  what crosses, and as what
"""
