"""What a run has to record so that it can be found and repeated; and the folder that such a record gives back."""

import importlib.metadata
import os
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from week09_experiment_tracking import configuration
from week09_experiment_tracking.store import digest

PACKAGES = ("torch", "numpy", "scikit-learn")
VARIABLES = ("OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED")


def git(root: Path, *words: str, stdin: bytes = b"") -> bytes:
    """What git says in this folder. Raises subprocess.CalledProcessError if it fails."""
    who = ["-c", "user.name=lab", "-c", "user.email=lab@localhost", "-c", "commit.gpgsign=false"]
    command = ["git", *who, *words]
    return subprocess.run(command, cwd=root, input=stdin, capture_output=True, check=True).stdout


def code(root: Path, untracked: bool = True) -> dict[str, str]:
    """The commit, and everything in which the folder differs from it, as a patch; new files too, unless told not to.

    `git diff` leaves files out that were never added. They are shown to it by a second index, so that the real one
    stays as it is.
    """
    commit = git(root, "rev-parse", "HEAD").decode().strip()
    if not untracked:
        return {"commit": commit, "diff": git(root, "diff", "--binary", "HEAD").decode()}
    with tempfile.TemporaryDirectory() as place:
        index = {**os.environ, "GIT_INDEX_FILE": f"{place}/index"}
        run = {"cwd": root, "env": index, "check": True, "capture_output": True}
        subprocess.run(["git", "read-tree", "HEAD"], **run)
        subprocess.run(["git", "add", "--all"], **run)
        diff = subprocess.run(["git", "diff", "--binary", "--cached", "HEAD"], **run).stdout
    return {"commit": commit, "diff": diff.decode()}


def restore(root: Path, recorded: Mapping[str, str], target: Path) -> Path:
    """The code of a run in a new folder: its commit, with its patch applied."""
    git(root, "clone", "--quiet", "--no-hardlinks", ".", str(target))
    git(target, "checkout", "--quiet", recorded["commit"])
    if recorded["diff"]:
        git(target, "apply", "--binary", stdin=recorded["diff"].encode())
    return target


def facts(root: Path, config: Mapping[str, Any], data: Iterable[Path], seed: int) -> dict[str, Any]:
    """All that a run depends on, as far as it can be written down when it begins."""
    return {
        "code": code(root),
        "config": dict(config),
        "config hash": configuration.digest(config),
        "data": {file.name: digest(file.read_bytes()) for file in data},
        "seed": seed,
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
            **{name: os.environ.get(name) for name in VARIABLES},
        },
    }


STATES: dict[str, Callable[[Path], object]] = {
    "all committed": lambda root: None,
    "train.py edited": lambda root: (root / "train.py").write_text("rate = 0.2\n"),
    "edited and added": lambda root: (
        (root / "train.py").write_text("rate = 0.3\n"),
        git(root, "add", "train.py"),
    ),
    "a new module": lambda root: (root / "loss.py").write_text("def loss(): ...\n"),
    "a module deleted": lambda root: (root / "data.py").unlink(),
    "a binary file replaced": lambda root: (root / "vocabulary.bin").write_bytes(bytes(range(255, -1, -1))),
}
"""What a working folder may look like when somebody presses Enter."""


def repeated(folder: Path) -> dict[str, dict[str, bool]]:
    """For each state of a folder: is the code that ran the code that three kinds of records give back?"""
    records = {
        "the commit": lambda root: {"commit": git(root, "rev-parse", "HEAD").decode().strip(), "diff": ""},
        "and git diff": lambda root: code(root, untracked=False),
        "and new files": code,
    }
    found: dict[str, dict[str, bool]] = {}
    for number, (state, change) in enumerate(STATES.items()):
        root = folder / f"work{number}"
        root.mkdir(parents=True)
        (root / "train.py").write_text("rate = 0.1\n")
        (root / "data.py").write_text("rows = 10\n")
        (root / "vocabulary.bin").write_bytes(bytes(range(256)))
        git(root, "init", "--quiet")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message", "a")
        change(root)
        found[state] = {}
        for name, record in records.items():
            target = folder / f"{number} {name}"
            found[state][name] = _files(restore(root, record(root), target)) == _files(root)
    return found


def _files(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in root.iterdir() if file.is_file()}
