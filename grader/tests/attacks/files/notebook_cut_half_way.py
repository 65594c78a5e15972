"""Hands in a notebook that was cut half way, by a full disk or a broken upload.

Must: get full credit for the module, and read that the notebook is broken.
"""

FAMILY = "accident"
FAST = True
DESERVES = {"part": 4}
SAYS = "lab.ipynb: not a notebook"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text[: len(text) // 2] if name == "lab.ipynb" else text)
