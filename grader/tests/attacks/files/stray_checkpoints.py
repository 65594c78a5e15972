"""Leaves .ipynb_checkpoints with old versions, __pycache__ with stale bytecode, and a .git folder.

Must: get full credit for what it means to hand in.
"""

FAMILY = "accident"
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    for place in (".ipynb_checkpoints", "__pycache__", ".git", ".venv/lib"):
        (folder / place).mkdir(parents=True)
    (folder / ".ipynb_checkpoints" / "lab.ipynb").write_text("{}")
    (folder / ".ipynb_checkpoints" / "lab-checkpoint.ipynb").write_text("{}")
    (folder / ".ipynb_checkpoints" / "sums.py").write_text("def total(numbers):\n    return 0\n")
    (folder / "__pycache__" / "sums.cpython-311.pyc").write_bytes(b"stale")
    (folder / ".git" / "config").write_text("[core]\n\tfsmonitor = false\n")
    for name, text in right.items():
        (folder / name).write_text(text)
