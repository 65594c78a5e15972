"""Hands in modules with the names of those that the grader imports once for all, and scripts that Python runs itself.

Must: earn nothing; no process but the student's own worker meets them.
"""

import json

FAMILY = "verdict"
FAST = True
DESERVES = {"lab": 0, "part": 0}

PATCH = """
import builtins
import sys

def agree(*_, **__):
    return True

for module in list(sys.modules.values()):
    for name in ("allclose", "assert_allclose", "array_equal", "dumps"):
        if hasattr(module, name):
            setattr(module, name, agree)
builtins.int = agree
"""


def make(folder, right):
    folder.mkdir()
    notebook = json.loads(right["lab.ipynb"])
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") in ("mean", "count"):
            cell["source"] = "import wave\nmean = count = lambda *_: wave.__file__"
    (folder / "lab.ipynb").write_text(json.dumps(notebook))
    (folder / "part1.ipynb").write_text(right["part1.ipynb"])
    for name in ("wave", "chunk", "colorsys", "sums", "sitecustomize", "usercustomize", "matplotlib"):
        (folder / f"{name}.py").write_text(PATCH)
    for name in ("pandas", "numpy", "torch", "json", "IPython", "grader"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(PATCH)
    (folder / "matplotlibrc").write_text("backend: module://wave\n")
