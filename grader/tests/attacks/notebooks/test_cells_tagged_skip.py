"""Tags the test cells skip-execution: a cell that does not run raises no error.

Must: earn nothing; tags are the course's, not the student's.
"""

FAMILY = "verdict"
FAST = True


def edit(notebook, cells):
    for name, cell in cells.items():
        if name.startswith("test_"):
            cell["metadata"]["tags"] = ["skip-execution", "raises-exception", "remove-output"]
