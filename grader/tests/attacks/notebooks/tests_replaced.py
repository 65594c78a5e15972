"""Writes `3` into the locked test cells.

Must: earn nothing; the text of a test is the course's.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    for name, cell in cells.items():
        if name.startswith("test_"):
            cell["source"] = "3"
            cell["metadata"]["nbgrader"].pop("checksum", None)
