"""Has a tree made by hand, in which a file is called by an absolute path on the instructor's machine.

Must: write nothing out of the submission; the right files count.
"""

FAMILY = "steps"
FAST = True
INTO = "repository"
DESERVES = {"lab": 7, "part": 4}
SAYS = "leads out of the folder, not taken"


def make(folder, right):
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for name, text in right.items():
        (folder / name).write_text(text)
    commit(folder)
    commit_path(folder, RAN, "ran")
    commit_path(folder, f"../../../..{RAN}", "ran")
