"""Files of a student's that a browser or nbgrader would run."""

from __future__ import annotations

import mimetypes
import os
import re
from pathlib import Path


def defuse(folder: Path, course: Path) -> list[str]:
    """Rename what a browser or nbgrader would run out of a graded submission; return a note for each file.

    Formgrader serves the files beside a graded notebook under its own address, where a page of a student's would
    have the rights of the instructor; and nbgrader takes its configuration from any folder that a link names.
    Files that `course`, the folder of the assignment's source, has too are the course's own, and stay.
    """
    notes = []
    for current, _, names in os.walk(folder):
        for name in names:
            path = Path(current, name)
            relative = path.relative_to(folder)
            if is_active(name) and not (course / relative).exists():
                path.rename(path.with_name(f"{name}.txt"))
                notes.append(f"{relative}: kept as {name}.txt; a browser or nbgrader would run the original")
    return notes


def is_active(name: str) -> bool:
    """Return whether a file called so runs when a browser opens it, or configures nbgrader where it lies."""
    kind = mimetypes.guess_type(name)[0] or ""
    return bool(re.search("html|xml|xsl", kind)) or name.lower().startswith("nbgrader_config.")
