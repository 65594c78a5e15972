"""Turns test cells into Markdown and raw text, and drops their metadata.

Must: earn nothing.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    for name, kind in (("test_mean", "markdown"), ("test_mean_edges", "raw")):
        cells[name]["cell_type"] = kind
        cells[name].pop("outputs", None)
        cells[name].pop("execution_count", None)
    cells["test_count"]["metadata"] = {"nbgrader": "nothing"}
