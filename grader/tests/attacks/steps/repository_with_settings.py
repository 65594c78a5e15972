"""Has filters, hooks, a submodule that is the course, and links to the course in a repository of right work.

Must: run nothing and follow nothing; the right files count.
"""

from pathlib import Path

FAMILY = "steps"
FAST = True
INTO = "repository"
DESERVES = {"lab": 7, "part": 4}
SAYS = "a link or a submodule, not taken"


def make(folder, right):
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "own.py").symlink_to(Path(COURSE) / "source" / "hw" / "sums.py")
    (folder / "source").symlink_to(Path(COURSE) / "source")
    (folder / ".gitattributes").write_text("* filter=run diff=run\n")
    (folder / ".gitmodules").write_text(
        f'[submodule "own"]\n\tpath = own\n\turl = {COURSE}\n\tupdate = !touch {RAN}\n'
    )
    (folder / ".lfsconfig").write_text("[lfs]\n\turl = file:///\n")
    for name in ("HEAD", "config", "objects/x", "refs/heads/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f'[core]\n\tfsmonitor = "touch {RAN}"\n\tbare = true\n')
    git(folder, "config", "filter.run.smudge", f"touch {RAN}")
    git(folder, "config", "uploadpack.packObjectsHook", f"touch {RAN}")
    git(folder, "config", "core.hooksPath", "hooks")
    (folder / "hooks").mkdir()
    (folder / "hooks" / "post-checkout").write_text(f"#!/bin/sh\ntouch {RAN}\n")
    (folder / "hooks" / "post-checkout").chmod(0o755)
    commit(folder)
