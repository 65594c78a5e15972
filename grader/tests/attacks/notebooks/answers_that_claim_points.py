"""Marks answers and cells of its own as graded, with points.

Must: earn nothing; which cell gives points is written in the gradebook.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    import copy

    for name in ("mean", "count"):
        cells[name]["metadata"]["nbgrader"].update(grade=True, points=50)
        cells[name]["source"] = "3"
        extra = copy.deepcopy(cells["test_count"])
        extra["metadata"]["nbgrader"]["grade_id"] = f"bonus-{name}"
        extra["id"] = f"bonus-{name}"
        extra["source"] = "100"
        notebook["cells"].append(extra)
