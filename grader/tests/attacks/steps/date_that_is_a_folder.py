"""Hands in a folder named timestamp.txt, where collecting writes the date.

Must: be collected like any other, and stop nobody.
"""

FAMILY = "steps"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "the folder timestamp.txt is not taken"


def make(folder, right):
    for name, text in {**right, "timestamp.txt/a/b": "x"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
