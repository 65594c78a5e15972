"""Writes full points for itself into the gradebook, as a grade by hand, which grading again respects.

Must: earn nothing; there is no gradebook where student code runs.
"""

FAMILY = "verdict"
ALONE = True
FAST = True

# %% own
import pathlib
import sqlite3

for folder in ("../../..", "../../../..", "/", "."):
    path = pathlib.Path(folder) / "gradebook.db"
    try:
        if path.is_file():
            with sqlite3.connect(path) as database:
                database.execute(
                    "UPDATE grade SET manual_score = 1000, auto_score = 1000, needs_manual_grade = 0"
                )
    except Exception as error:
        print(error)
