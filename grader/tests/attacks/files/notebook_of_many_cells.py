"""Has 60,000 cells of its own and a cell of 5 MB.

Must: be cut at a limit, with a sentence; the other students do not wait for it.
"""

import json

FAMILY = "harm"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(right["sums.py"])
    notebook = json.loads(right["lab.ipynb"])
    more = [{"cell_type": "markdown", "id": f"m{i}", "metadata": {}, "source": "x"} for i in range(60_000)]
    notebook["cells"] += [
        *more,
        {"cell_type": "markdown", "id": "big", "metadata": {}, "source": "y" * 5_000_000},
    ]
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
