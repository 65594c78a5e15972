"""Looks for the submissions of others and prints them.

Must: learn nothing.
"""

FAMILY = "secrets"

# %% own
import glob

for pattern in ("../../*/*/*.ipynb", "../../../submitted/*/*/*.ipynb", "/tmp/*/submitted/*/*/*.ipynb"):
    for path in sorted(glob.glob(pattern)):
        with open(path) as file:
            text = file.read()
        if "neighbour" in path or "next" in path:
            print(text)
