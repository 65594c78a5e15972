"""Is right while it is graded, then changes files that a digest might pass over, which decide what it returns.

Must: be graded again; the verdict on other files does not stand.
"""

FAMILY = "steps"
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7}
OVERLOOKED = ("inner/timestamp.txt", "inner/checks/a.txt", "inner/right/a.txt", "venv", ".git", "inner/.git")
CODE = """from pathlib import Path

SEEN = [Path(__file__).parent / name for name in {names!r}]


def total(numbers):
    return 0 if any(path.exists() and path.read_text() == "wrong" for path in SEEN) else sum(numbers)
"""


def make(folder, right):
    for name, text in {**right, **dict.fromkeys(OVERLOOKED, "right")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "sums.py").write_text(CODE.format(names=OVERLOOKED))


def change(folder):
    for name in OVERLOOKED:
        (folder / name).write_text("wrong")
