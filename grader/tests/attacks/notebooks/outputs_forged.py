"""Hands in outputs that show full points, with execution counts, for test cells that would fail.

Must: earn nothing; submitted outputs of code that is tested are dropped.
"""

FAMILY = "verdict"
FAST = True


def edit(notebook, cells):
    for name, cell in cells.items():
        if name.startswith("test_"):
            cell["execution_count"] = 5
            cell["outputs"] = [
                {
                    "output_type": "execute_result",
                    "execution_count": 5,
                    "metadata": {},
                    "data": {"text/plain": "3"},
                }
            ]


# %% mean
def mean(values):
    return -1.0
