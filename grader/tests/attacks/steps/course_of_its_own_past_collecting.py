"""Is a course of its own in the course, where a tool other than ours has put it: config, checks, a gradebook.

Must: run nothing when the instructor works in the folder or formgrader is sent there; the right files count.
"""

from pathlib import Path

FAMILY = "steps"
FAST = True
DESERVES = {"lab": 7, "part": 4}
SAYS = "whose own checks are not run"
INTO = "submitted"
INSIDE = "submitted/{student}/hw"
COMMANDS = [["summary", "hw"], ["check", "--in", "."], ["grade", "hw", "--explain", "{student}"]]
URLS = [
    "/formgrader?path=submitted/{student}/hw",
    "/formgrader?path=autograded/{student}/hw",
]


def make(folder, right):
    run = f"open({RAN!r}, 'w').close()\n"
    files = {"course.toml": (Path(COURSE) / "course.toml").read_text().replace("Files", "eve's"), **right}
    names = "nbgrader_config.py NBGRADER_CONFIG.PY nbgrader_config.json jupyter_config.py ipython_config.py"
    names += " conftest.py sitecustomize.py usercustomize.py .ipython/profile_default/startup/00.py"
    names += " .jupyter/jupyter_config.py checks/part1_public.py checks/part1_hidden.py"
    for name, text in {**files, **dict.fromkeys(names.split(), run)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "source" / "hw").mkdir(parents=True)
    (folder / "source" / "hw" / "sums.py").write_text(right["sums.py"])
