"""Links its modules and notebook to the instructor's in a folder that another tool put into the course.

Must: learn nothing and earn nothing.
"""

FAMILY = "secrets"
FAST = True
INTO = "submitted"
SAYS = "link"


def make(folder, right):
    folder.mkdir()
    course = folder.parents[2]
    (folder / "sums.py").symlink_to(course / "source" / "hw" / "sums.py")
    (folder / "lab.ipynb").symlink_to(course / "source" / "hw" / "lab.ipynb")
    (folder / "everything").symlink_to(course)
    (folder / "loop").symlink_to(folder)
    (folder / "timestamp.txt").symlink_to(course / "gradebook.db")
