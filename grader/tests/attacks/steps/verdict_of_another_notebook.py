"""Has a right notebook graded, then changes a file of old date beside it that its answers read.

Must: be graded again, whatever the file is called and whatever date it bears.
"""

import json
import os

FAMILY = "steps"
FAST = True
INTO = "submitted"
DESERVES = {"part": 4}
READS = "open('inner/timestamp.txt').read() == 'right'"


def make(folder, right):
    notebook = json.loads(right["lab.ipynb"])
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") in ("mean", "count"):
            cell["source"] = f"assert {READS}\n{cell['source']}"
    (folder / "inner").mkdir(parents=True)
    for name, text in {**right, "lab.ipynb": json.dumps(notebook), "inner/timestamp.txt": "right"}.items():
        (folder / name).write_text(text)
        os.utime(folder / name, (0, 0))


def change(folder):
    (folder / "inner" / "timestamp.txt").write_text("wrong")
    os.utime(folder / "inner" / "timestamp.txt", (0, 0))
