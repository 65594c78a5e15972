"""Nests the JSON of its notebook 100,000 deep, in its metadata and in the place of its cells.

Must: be refused in a sentence; neither memory nor stack of the grader is used up.
"""

FAMILY = "harm"
FAST = True
DESERVES = {"part": 4}
SAYS = "not a notebook"


def make(folder, right):
    folder.mkdir()
    (folder / "sums.py").write_text(right["sums.py"])
    deep = "[" * 100_000 + "]" * 100_000
    (folder / "lab.ipynb").write_text(f'{{"nbformat": 4, "metadata": {deep}, "cells": []}}')
    (folder / "part1.ipynb").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
