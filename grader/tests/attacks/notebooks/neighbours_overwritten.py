"""Overwrites the graded and submitted notebooks of everybody, and the released one.

Must: harm nobody.
"""

FAMILY = "harm"
FAST = True

# %% own
import glob

for pattern in (
    "../../../submitted/*/*/*.ipynb",
    "../../../autograded/*/*/*.ipynb",
    "../../../release/*/*.ipynb",
):
    for path in glob.glob(pattern):
        try:
            open(path, "w").write("{}")
        except OSError as error:
            print(error)
