"""Has 30 MB of outputs in a notebook that another tool put into the course.

Must: get full credit.
"""

import json

FAMILY = "accident"
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}
SAYS = "outputs"


def make(folder, right):
    folder.mkdir(parents=True)
    for name, text in right.items():
        (folder / name).write_text(text)
    notebook = json.loads(right["lab.ipynb"])
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 30_000_000}}
    next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")["outputs"] = [picture]
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
