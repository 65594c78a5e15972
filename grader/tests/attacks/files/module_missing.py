"""Imports a package in its module that the machine does not have.

Must: get full credit for the notebook, and read which package is missing.
"""

FAMILY = "accident"
STOCK = "concerns the module"
DESERVES = {"lab": 7}
SAYS = "a_package_of_my_laptop"


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "sums.py").write_text("import a_package_of_my_laptop\n" + right["sums.py"])
