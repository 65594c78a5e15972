"""Saves its notebook in the format of 2014.

Must: get full credit.
"""

import json

FAMILY = "accident"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    cells = [
        {
            "cell_type": "code",
            "language": "python",
            "input": c["source"],
            "metadata": c["metadata"],
            "outputs": [],
        }
        if c["cell_type"] == "code"
        else {"cell_type": "markdown", "source": c["source"], "metadata": c["metadata"]}
        for c in json.loads(right["lab.ipynb"])["cells"]
    ]
    old = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    (folder / "lab.ipynb").write_text(json.dumps(old))
