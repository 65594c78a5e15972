"""Uses magics and shell commands in a cell of its own.

Must: get full credit.
"""

FAMILY = "accident"
DESERVES = 7


def edit(notebook, cells):
    source = "%matplotlib inline\n%load_ext autoreload\n%autoreload 2\n!echo hello\nfiles = !ls"
    notebook["cells"].insert(
        2,
        {
            "cell_type": "code",
            "id": "own-magics",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        },
    )


# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
