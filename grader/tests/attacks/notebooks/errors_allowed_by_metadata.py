"""Says in the metadata of cells and notebook that errors are expected, and names a kernel that allows them.

Must: earn nothing.
"""

FAMILY = "verdict"


def edit(notebook, cells):
    notebook["metadata"]["allow_errors"] = True
    notebook["metadata"]["execution"] = {"allow_errors": True, "timeout": -1}
    for cell in cells.values():
        cell["metadata"].update(tags=["raises-exception"], allow_errors=True)
