"""Looks for the gradebook and prints the tests that stand in it.

Must: learn nothing; the hidden tests are not where student code runs.
"""

FAMILY = "secrets"

# %% own
import pathlib
import sqlite3

for folder in ("../../..", "../../../..", "/", ".", "/submission"):
    path = pathlib.Path(folder) / "gradebook.db"
    try:
        if path.is_file():
            for (text,) in sqlite3.connect(path).execute("SELECT source FROM source_cell"):
                print(text)
    except Exception as error:
        print(error)
