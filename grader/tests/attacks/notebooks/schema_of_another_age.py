"""Claims schema versions of nbgrader that are too old and too new.

Must: earn nothing, and stop nobody else's grading.
"""

FAMILY = "harm"


def edit(notebook, cells):
    for index, cell in enumerate(cells.values()):
        cell["metadata"]["nbgrader"]["schema_version"] = (0, 1, 99)[index % 3]
