"""Copied and pasted cells in its editor, so that answers and tests stand twice under one id.

Must: get full credit, and stop nobody's grading.
"""

import copy
import json

FAMILY = "accident"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "the first counts"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    notebook = json.loads(right["lab.ipynb"])
    cells = []
    for cell in notebook["cells"]:
        cells += [cell, copy.deepcopy(cell)]
    notebook["cells"] = cells
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
