"""A new course: the folder `new_course`, copied."""

from __future__ import annotations

import shutil
from pathlib import Path

from grader.course import CourseError

TEMPLATE = Path(__file__).parent / "new_course"


def new_course(directory: Path) -> None:
    """Write a small course to the new folder `directory`; raises CourseError where it holds something already."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CourseError(f"{directory}: not empty; name a new folder")
    ignored = shutil.ignore_patterns("__pycache__", "*.ipynb", "release", "gradebook.db", ".grader")
    shutil.copytree(TEMPLATE, directory, dirs_exist_ok=True, ignore=ignored)
