"""Puts a second, harmless cell with the id of each test before the real one.

Must: earn nothing, and stop nobody else's grading.
"""

FAMILY = "verdict"
FAST = True


def edit(notebook, cells):
    import copy

    for name in ("test_mean", "test_count"):
        twin = copy.deepcopy(cells[name])
        twin["source"] = "3"
        twin["id"] = f"twin-{name.replace('_', '-')}"
        notebook["cells"].insert(1, twin)
