"""Links its modules to the solution, its notebook to the instructor's, and a folder to the whole course.

Must: learn nothing and earn nothing.
"""

FAMILY = "secrets"
SAYS = "link"


def make(folder, right):
    folder.mkdir()
    course = folder.parents[2] / "course"
    (folder / "sums.py").symlink_to(course / "source" / "hw" / "sums.py")
    (folder / "lab.ipynb").symlink_to(course / "source" / "hw" / "lab.ipynb")
    (folder / "everything").symlink_to(course)
    (folder / "loop").symlink_to(folder)
    (folder / "notes.txt").write_text("the only honest file")
