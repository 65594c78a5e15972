"""Writes its answer into a cell of its own below the empty one, and clears the given cell.

Must: get full credit.
"""

FAMILY = "accident"
DESERVES = 7


def edit(notebook, cells):
    at = notebook["cells"].index(cells["mean"]) + 1
    source = "def mean(values):\n    return sum(values) / len(values) if values else 0.0"
    notebook["cells"].insert(
        at,
        {
            "cell_type": "code",
            "id": "own-mean",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        },
    )
    cells["mean"]["source"] = ""


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
