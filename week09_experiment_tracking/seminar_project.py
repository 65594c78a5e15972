"""Copies of the seminar's project in temporary folders, with git and DVC, and the programs that run there.

    with temporary() as root:
        ours = create(root / "ours", remote=root / "remote")
        ours.repro()                    # {"prepare": "ran", "train": "ran", "evaluate": "ran"}
        ours.edit("params.yaml", "lr: 0.05", "lr: 0.1")
        ours.repro()

Nothing is read from or written to the user's own settings of git and DVC, and nothing leaves the machine.
"""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

HERE = Path(__file__).parent
SCRIPT = HERE / "project" / "script" / "train.py"
PIPELINE = HERE / "project" / "pipeline"
DEADLINE = 300.0  # seconds for a program; only a hang takes longer
KEPT_BACK = 600
"""So many digits are not in the project's data: they are the images that come later."""


class Failed(RuntimeError):
    """A program of the project ended with an error; the message has its last lines."""


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A folder for projects, which is deleted at the end whatever happens."""
    with tempfile.TemporaryDirectory(prefix="seminar-", ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def environment(root: Path) -> dict[str, str]:
    """For a program of a project below `root`: no settings of the user's, no word to a server, one thread."""
    own = {name: str(root / ".own" / name) for name in ("config", "system", "cache")}
    theirs = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DVC_", "GIT_", "FORCE_COLOR", "CLICOLOR_FORCE"))
    }
    return theirs | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(root / ".own"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([".", str(HERE.parent)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DVC_NO_ANALYTICS": "true",
        "DVC_GLOBAL_CONFIG_DIR": own["config"],
        "DVC_SYSTEM_CONFIG_DIR": own["system"],
        "DVC_SITE_CACHE_DIR": own["cache"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        **{f"GIT_{who}_{what}": "student" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",  # a notebook's kernel asks for colours, and a page would show their codes
    }


def digits() -> np.ndarray:
    """scikit-learn's digits in a fixed random order, (1797, 65) int64: 64 pixels, 0 to 16, and the label."""
    package = importlib.util.find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    path = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    return np.random.default_rng(0).permutation(table)


def write_table(path: Path, table: np.ndarray) -> None:
    """Write rows of 64 pixels and a label as the raw data have them."""
    np.savetxt(path, table, fmt="%d", delimiter=",")


EVAL = ("    right = 0\n    for i", "    right = 0\n    model.eval()\n    for i")
TRAIN = ("    perm = torch.randperm", "    model.train()\n    perm = torch.randperm")
"""Repairs of the script, as edits: evaluate with eval(), and train with train() again."""


REPEAT = """
import contextlib, io, json, os, runpy, sys
said = []
for folder in sys.argv[1:]:
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path("train.py")
    said.append(out.getvalue().splitlines())
print(json.dumps(said))
"""


def script(folder: Path, *versions: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Run the script once for each version (a list of repairs), each in a folder of its own; the lines they print.

    All run in one process, one after the other, because the import of PyTorch takes longer than the script.
    """
    folders = []
    for number, repairs in enumerate(versions):
        text = SCRIPT.read_text(encoding="utf-8")
        for old, new in repairs:
            if text.count(old) != 1:
                raise ValueError(f"the script has {old!r} {text.count(old)} times, not once")
            text = text.replace(old, new)
        folders.append(folder / str(number))
        folders[-1].mkdir(parents=True)
        (folders[-1] / "train.py").write_text(text, encoding="utf-8")
    return json.loads(Project(folder).python("-c", REPEAT, *map(str, folders)).stdout)


def best(lines: Sequence[str]) -> float:
    """The accuracy that the script prints in capital letters, in percent."""
    return next(float(line.split()[-1]) for line in lines if line.startswith("BEST"))


EACH = """
import json, sys
from dvc.cli import main
for command in json.loads(sys.argv[1]):
    if status := main(command):
        sys.exit(status)
"""


class Project:
    """A copy of the project in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        """Run a program there; its output is text. Raises Failed if it ends with an error and `check` is true."""
        environ = environment(self.folder.parent) | variables
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environ,
            text=True,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        if check and done.returncode:
            words = (done.stdout + done.stderr)[-2000:]
            raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{words}")
        return done

    def python(self, *arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
        """Run Python there."""
        return self.run(sys.executable, *arguments, check=check, **variables)

    def git(self, *arguments: str) -> str:
        """Run git there and return what it says."""
        return self.run("git", *arguments).stdout

    def dvc(self, *arguments: str) -> str:
        """Run DVC there and return what it says."""
        return self.python("-m", "dvc", *arguments).stdout

    def dvc_each(self, *commands: Sequence[str]) -> None:
        """Run several DVC commands in one process, which starts DVC once; stop at the first that fails."""
        self.python("-c", EACH, json.dumps(commands))

    def repro(self) -> dict[str, str]:
        """`dvc repro`; what it did with each stage: "ran", "from the cache" or "-"."""
        return stages(self.dvc("repro"))

    def commit(self, message: str) -> None:
        """Commit all that git is not told to ignore."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        return (self.folder / name).read_bytes()

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that is there exactly once. Raises ValueError otherwise."""
        text = (self.folder / name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            raise ValueError(f"{name} has {old!r} {text.count(old)} times, not once")
        (self.folder / name).write_text(text.replace(old, new), encoding="utf-8")

    @property
    def params(self) -> dict[str, Any]:
        """What params.yaml says."""
        return yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))

    @params.setter
    def params(self, values: Mapping[str, Any]) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def metrics(self) -> dict[str, float]:
        """What metrics.json says."""
        return json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))


def stages(said: str) -> dict[str, str]:
    """From what `dvc repro` says to what it did with each stage of the pipeline, in order."""
    patterns = {
        "ran": r"Running stage '(\w+)'",
        "from the cache": r"Stage '(\w+)' is cached - skipping run",
        "-": r"Stage '(\w+)' didn't change, skipping",
    }
    found = [(m.start(), m[1], did) for did, pattern in patterns.items() for m in re.finditer(pattern, said)]
    return {name: did for _, name, did in sorted(found)}


def lay(folder: Path) -> Project:
    """The project's files in a new folder, with the digits as its raw data; no git and no DVC yet."""
    shutil.copytree(
        PIPELINE,
        folder,
        ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis", ".ruff_cache"),
    )
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True)
    write_table(raw / "scanner1.csv", digits()[:-KEPT_BACK])
    return Project(folder)


def create(folder: Path, remote: Path) -> Project:
    """`lay`, then git and DVC: the raw data are DVC's, pushed to a remote that is a folder."""
    project = lay(folder)
    project.git("init", "--quiet", "--initial-branch=main")
    project.dvc_each(
        ("init", "--quiet"),
        ("remote", "add", "--quiet", "--default", "shelf", str(remote)),
        ("add", "--quiet", "data/raw"),
    )
    return project
