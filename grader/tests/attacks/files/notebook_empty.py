"""Hands in a notebook of no bytes and one with no cells.

Must: get full credit for the module, and read that the notebook is empty.
"""

FAMILY = "accident"
FAST = True
DESERVES = {"part": 4}
SAYS = "lab.ipynb"


def make(folder, right):
    folder.mkdir()
    (folder / "lab.ipynb").touch()
    (folder / "part1.ipynb").write_text('{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}')
    (folder / "sums.py").write_text(right["sums.py"])
