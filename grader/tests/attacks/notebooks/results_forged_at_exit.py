"""Writes a notebook with full points over the graded one when its interpreter ends, and from a grandchild.

Must: earn nothing; the graded notebook is out of reach.
"""

FAMILY = "verdict"
ALONE = True

# %% own
import atexit
import os
import pathlib


def forge():
    for path in pathlib.Path(".").glob("*.ipynb"):
        text = json.loads(path.read_text())
        for cell in text["cells"]:
            if cell["cell_type"] == "code":
                cell["source"] = "3"
                cell["outputs"] = []
        path.write_text(json.dumps(text))


atexit.register(forge)
if os.fork() == 0:
    import time

    for _ in range(8):
        try:
            forge()
        except OSError:
            break
        time.sleep(0.25)
    os._exit(0)
