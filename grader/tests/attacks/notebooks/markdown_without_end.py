"""Hands in texts that parsers take minutes for: 64,000 spaces, open brackets, 25,000 formulas, nested HTML.

Must: get what its answers deserve; its texts are shown as text, and nobody waits for them.
"""

FAMILY = "harm"
FAST = True
FEEDBACK = True
DESERVES = 7
TEXTS = [
    "a" + " " * 64_000 + "<b>",
    '<b>"]**1. ' * 9_000,
    "$x$ " * 25_000,
    "\\begin{a}" * 10_000,
    "|a|b|\n|-|-|\n" * 7_000,
    "<b>" + "[" * 90_000,
    "<div>" * 19_000,
]


def edit(notebook, cells):
    for text in TEXTS:
        notebook["cells"].append({"cell_type": "markdown", "metadata": {}, "id": "own", "source": text})
    cells["essay"]["source"] = TEXTS[0]


# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0


# %% count
def count(words):
    return {word: list(words).count(word) for word in words}
