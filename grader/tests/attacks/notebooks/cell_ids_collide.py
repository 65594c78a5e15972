"""Gives all cells one id, and that of the course's test cells to its own.

Must: earn nothing, and stop nobody else's grading.
"""

FAMILY = "harm"
FAST = True


def edit(notebook, cells):
    for cell in notebook["cells"]:
        cell["id"] = "same"
