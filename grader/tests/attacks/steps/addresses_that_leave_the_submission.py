"""Leads the instructor's browser out of the graded submission: to the original, the sources, others, the machine.

Must: serve nothing but files of the graded submission.
"""

from pathlib import Path

FAMILY = "steps"
FAST = True
INTO = "submitted"
DESERVES = {"lab": 7, "part": 4}
URLS = [
    "/formgrader/submissions/{id}/..%2f..%2f..%2fsubmitted%2f{student}%2fhw%2fpage.html",
    "/formgrader/submissions/{id}/..%2f..%2f..%2fsubmitted%2fneighbour%2fhw%2fmine.txt",
    "/formgrader/submissions/{id}/../../../submitted/neighbour/hw/mine.txt",
    "/formgrader/submissions/{id}/%2e%2e/%2e%2e/%2e%2e/source/hw/checks/part1_hidden.py",
    "/formgrader/submissions/{id}/..%2f..%2f..%2fsource%2fhw%2fsums.py",
    "/formgrader/submissions/{id}/..%2f..%2fneighbour%2fhw%2fmine.txt",
    "/formgrader/submissions/{id}/%2fetc%2fpasswd",
    "/formgrader/submissions/{id}/own/sums.py",
    "/formgrader/submissions/{id}/..%2fhw%2fown%2fsums.py",
    "/formgrader/submissions/components/..%2f..%2f..%2f..%2f..%2f..%2fsource%2fhw%2fsums.py",
    "/formgrader/submissions//..%2f..%2fneighbour%2fhw%2fmine.txt",
]


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "page.html").write_text("<script>pwned()</script>")
    (folder / "own").symlink_to(Path(COURSE) / "source" / "hw")
