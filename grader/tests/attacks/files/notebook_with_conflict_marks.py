"""Hands in a notebook with git's conflict marks in its JSON.

Must: get full credit for the module, and read that the notebook is broken.
"""

FAMILY = "accident"
DESERVES = {"part": 4}
SAYS = "lab.ipynb: not a notebook"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    text = right["lab.ipynb"]
    at = text.index('"cells"')
    (folder / "lab.ipynb").write_text(f"{text[:at]}\n<<<<<<< HEAD\n=======\n>>>>>>> mine\n{text[at:]}")
