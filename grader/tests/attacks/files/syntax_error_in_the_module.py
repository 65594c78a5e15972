"""Has a syntax error in its module.

Must: get full credit for the notebook, and read where the error is.
"""

FAMILY = "accident"
STOCK = "concerns the module"
FAST = True
DESERVES = {"lab": 7}
SAYS = "line 3"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "sums.py").write_text("def total(numbers):\n    a = 1\n    return sum(numbers\n")
