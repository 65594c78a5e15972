"""Puts a script into an address of formgrader, for the instructor to click: nbgrader writes names into its pages.

Must: come back in no page.
"""

FAMILY = "steps"
FAST = True
DESERVES = {"lab": 7, "part": 4}
URLS = [
    "/formgrader/manage_submissions/%22;pwned();%22",
    "/formgrader/manage_submissions/%3Cscript%3Epwned()%3C%2Fscript%3E",
    "/formgrader/gradebook/%22;pwned()%2f%2f",
    "/formgrader/gradebook/hw/%22%3E%3Csvg%20onload=pwned()%3E",
    "/formgrader/gradebook/%5C/;pwned()%2f%2f",
    "/formgrader/manage_students/%22;pwned();%22",
    "/formgrader/manage_students/{student}/'%0apwned()%0a",
    "/formgrader/submissions/%3Csvg%20onload=pwned()%3E/",
    "/formgrader/nothing/%3Csvg%20onload=pwned()%3E",
    "/formgrader?path=%3Csvg%20onload=pwned()%3E",
]


def make(folder, right):
    folder.mkdir()
    for name, text in right.items():
        (folder / name).write_text(text)
