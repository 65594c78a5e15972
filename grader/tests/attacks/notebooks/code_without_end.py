"""Hands in code that takes pygments hours to colour, and 12 texts that take seconds each to render.

Must: get what its answers deserve; neither the feedback of a class nor formgrader waits for the pages.
"""

FAMILY = "harm"
FEEDBACK = True
DESERVES = 7
CODE = ["x = 1" + "\n \n" * 100_000, "x = 1" + "\n \n" * 30_000]
TEXT = "> " * 40 + "a\n" * 40_000


def edit(notebook, cells):
    for text in CODE:
        cell = {"cell_type": "code", "metadata": {}, "id": "own", "outputs": [], "source": text}
        notebook["cells"].append({**cell, "execution_count": None})
    for _ in range(12):
        notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "id": "own", "source": TEXT})


# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
