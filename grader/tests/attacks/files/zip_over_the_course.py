"""Packs an nbgrader configuration, a gradebook, checks, course.toml and the grader's own folders.

Must: change nothing of the course, and run nothing; the right files count.
"""

import zipfile

FAMILY = "verdict"
FAST = True
DESERVES = {"lab": 7, "part": 4}


def make(folder, right):
    evil = "raise SystemExit('a submission was run by the grader')\n"
    with zipfile.ZipFile(f"{folder}.zip", "w") as archive:
        for name in (
            "nbgrader_config.py",
            "conftest.py",
            "sitecustomize.py",
            "checks/part1_hidden.py",
            "checks/part1_public.py",
            "grader/__init__.py",
            "source/hw/sums.py",
            ".grader/hw/x.json",
        ):
            archive.writestr(name, evil)
        archive.writestr("gradebook.db", b"SQLite format 3\0" + bytes(100))
        archive.writestr("course.toml", "[course]\nname = 'mine'\n")
        archive.writestr("timestamp.txt", "1999-01-01 00:00:00 UTC")
        for name, text in right.items():
            archive.writestr(name, text)
