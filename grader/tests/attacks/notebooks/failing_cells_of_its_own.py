"""Leaves cells of its own that fail, read a file that is not there, and ask for input.

Must: get full credit.
"""

FAMILY = "accident"
FAST = True
DESERVES = 7


def edit(notebook, cells):
    for index, source in enumerate(
        ("1 / 0", "open('my data.csv')", "name = input('Who are you? ')", "assert False")
    ):
        notebook["cells"].insert(
            2 + index,
            {
                "cell_type": "code",
                "id": f"own{index}",
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
