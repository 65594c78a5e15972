"""Keeps the arguments of every call, and shows them from a cell after the tests and in the name of an exception.

Must: learn nothing; after hidden tests no words of a student's code reach the feedback.
"""

FAMILY = "secrets"
FAST = True
DESERVES = 4


def edit(notebook, cells):
    source = "print(SEEN)\nraise type(str(SEEN[-1]), (Exception,), {})(str(SEEN))"
    notebook["cells"].append(
        {
            "cell_type": "code",
            "id": "later",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
    )


# %% mean
SEEN = []


def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    SEEN.extend(words)
    raise type("".join(words), (Exception,), {})("".join(words))
