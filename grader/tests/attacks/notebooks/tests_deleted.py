"""Deletes the test cells.

Must: earn nothing; tests that are missing are put back.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    notebook["cells"] = [
        cell
        for cell in notebook["cells"]
        if not cell["metadata"].get("nbgrader", {}).get("grade_id", "").startswith("test_")
    ]
