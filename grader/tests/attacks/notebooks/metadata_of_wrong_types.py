"""Fills the metadata with lists, numbers and nulls where text belongs.

Must: earn nothing, and stop nobody else's grading.
"""

FAMILY = "harm"
FAST = True


def edit(notebook, cells):
    notebook["metadata"] = {"kernelspec": [1], "language_info": 7, "celltoolbar": None}
    for index, cell in enumerate(cells.values()):
        cell["metadata"] = {
            "nbgrader": [{"grade_id": ["x"]}, None, 3, {"grade_id": {"a": 1}}][index % 4],
            "tags": 5,
        }
        cell["outputs"] = {"output_type": 3}
