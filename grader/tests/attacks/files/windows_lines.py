"""Has Windows line ends in its module and in the cells of its notebook.

Must: get full credit.
"""

import json

FAMILY = "accident"
FEEDBACK = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_bytes(right["sums.py"].replace("\n", "\r\n").encode())
    notebook = json.loads(right["lab.ipynb"])
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"]).replace("\n", "\r\n")
    (folder / "lab.ipynb").write_bytes(json.dumps(notebook, indent=1).replace("\n", "\r\n").encode())
    (folder / "part1.ipynb").write_text(right["part1.ipynb"])
