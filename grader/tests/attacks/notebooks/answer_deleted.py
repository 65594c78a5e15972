"""Deletes one answer's cell and rewrites the other's function in a cell of its own.

Must: get full credit for what stands in the notebook.
"""

FAMILY = "accident"
DESERVES = 3


def edit(notebook, cells):
    notebook["cells"].remove(cells["mean"])


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
