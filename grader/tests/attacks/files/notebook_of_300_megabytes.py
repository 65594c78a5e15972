"""Hands in a notebook with 300 MB of pictures and prints in its outputs.

Must: get full credit, and read that the outputs were dropped.
"""

import json

FAMILY = "accident"
DESERVES = {"lab": 7, "part": 4}
SAYS = "outputs"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    notebook = json.loads(right["lab.ipynb"])
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 40_000_000}}
    lines = {"output_type": "stream", "name": "stdout", "text": ["epoch 1, loss 0.123456789\n"] * 1_000_000}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in code:
        cell["outputs"] = [picture]
    code[0]["outputs"] = [picture, picture, lines]
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
