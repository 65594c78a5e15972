"""A small project of five stages, as a folder for our pipeline, for DVC and for make; and the edits made to it.

Each stage is a program of a few lines. When it runs, it adds its name to the file that the variable RAN names, so
that what really ran is counted in the same way whoever started it.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from week09_experiment_tracking.children import environment
from week09_experiment_tracking.pipeline import Pipeline, Stage

HEAD = """import json, os
open(os.environ["RAN"], "a").write("{name}\\n")
params = json.load(open("params.yaml"))  # JSON is YAML too
"""
PROGRAMS = {
    "split": """rows = open("raw.csv").read().split()
cut = int(len(rows) * params["split"]["share"])
open("train.csv", "w").write("\\n".join(rows[:cut]))
open("test.csv", "w").write("\\n".join(rows[cut:]))
""",
    "features": """rows = [float(row) for row in open("train.csv").read().split()]
json.dump([row * params["features"]["scale"] for row in rows], open("features.json", "w"))
""",
    "train": """values = json.load(open("features.json"))
json.dump({"mean": sum(values) / len(values) * params["train"]["rate"]}, open("model.json", "w"))
""",
    "evaluate": """model, rows = json.load(open("model.json")), open("test.csv").read().split()
json.dump({"error": sum(abs(float(row) - model["mean"]) for row in rows)}, open("error.json", "w"))
""",
    "report": """error = json.load(open("error.json"))["error"]
open("report.txt", "w").write(f"{params['report']['title']}: {error:.3f}{os.environ.get('UNIT', '')}")
""",
}
READS = {
    "split": ("raw.csv",),
    "features": ("train.csv",),
    "train": ("features.json",),
    "evaluate": ("model.json", "test.csv"),
    "report": ("error.json",),
}
MAKES = {
    "split": ("train.csv", "test.csv"),
    "features": ("features.json",),
    "train": ("model.json",),
    "evaluate": ("error.json",),
    "report": ("report.txt",),
}
PARAMS = {
    "split": ("split.share",),
    "features": ("features.scale",),
    "train": ("train.rate",),
    "evaluate": (),
    "report": ("report.title",),
}
VALUES = {
    "split": {"share": 0.75},
    "features": {"scale": 2.0},
    "train": {"rate": 0.5},
    "report": {"title": "error"},
    "unused": {"value": 1},
}


def command(name: str) -> str:
    """What runs a stage. The interpreter is named as PATH finds it: a lock file holds no path of a machine."""
    return f"python {name}.py"


def stages(watched: dict[str, tuple[str, ...]] | None = None) -> list[Stage]:
    """The five stages for our pipeline."""
    return [
        Stage(
            name,
            command(name),
            (f"{name}.py", *READS[name]),
            PARAMS[name],
            MAKES[name],
            (watched or {}).get(name, ()),
        )
        for name in PROGRAMS
    ]


def lay(root: Path) -> Path:
    """Write the project into a new folder: programs, data, parameters, `dvc.yaml`, `Makefile`."""
    root.mkdir(parents=True)
    for name, code in PROGRAMS.items():
        (root / f"{name}.py").write_text(HEAD.format(name=name) + code)
    (root / "raw.csv").write_text("\n".join(str(i % 17 / 4) for i in range(200)))
    _set_params(root, VALUES)
    described = {
        name: {
            "cmd": command(name),
            "deps": [f"{name}.py", *READS[name]],
            "outs": list(MAKES[name]),
        }
        | ({"params": list(PARAMS[name])} if PARAMS[name] else {})
        for name in PROGRAMS
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": described}, sort_keys=False))
    rules = [f"all: {' '.join(MAKES['report'])}"]
    for name in PROGRAMS:
        inputs = [f"{name}.py", *READS[name], *(["params.yaml"] if PARAMS[name] else [])]
        rules.append(f"{' '.join(MAKES[name])} &: {' '.join(inputs)}\n\t{command(name)}")
    (root / "Makefile").write_text("\n".join(rules) + "\n")
    return root


def _set_params(root: Path, values: dict) -> None:
    (root / "params.yaml").write_text(json.dumps(values, indent=1))


def _param(section: str, name: str, value: object) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        values = json.loads((root / "params.yaml").read_text())
        values[section][name] = value
        _set_params(root, values)

    return edit


def _append(file: str, text: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        (root / file).write_text((root / file).read_text() + text)

    return edit


def _touch(root: Path) -> None:
    later = time.time() + 5
    os.utime(root / "raw.csv", (later, later))


def _restore_backup(root: Path) -> None:
    """Another content with an old time, as from `cp -p`, `rsync -t` or an archive."""
    (root / "raw.csv").write_text((root / "raw.csv").read_text().replace("4.0", "4.5"))
    os.utime(root / "raw.csv", (1e9, 1e9))


EDITS: dict[str, tuple[Callable[[Path], None], frozenset[str]]] = {
    "raw.csv: a row more": (_append("raw.csv", "\n9.5"), frozenset({"split", "evaluate", "report"})),
    "split.py: a comment": (_append("split.py", "# shares\n"), frozenset({"split"})),
    "features.py: a comment": (_append("features.py", "# scale\n"), frozenset({"features"})),
    "train.py: a comment": (_append("train.py", "# mean\n"), frozenset({"train"})),
    "evaluate.py: a comment": (_append("evaluate.py", "# error\n"), frozenset({"evaluate"})),
    "report.py: a comment": (_append("report.py", "# text\n"), frozenset({"report"})),
    "split.share": (_param("split", "share", 0.5), frozenset(PROGRAMS)),
    "features.scale": (_param("features", "scale", 3.0), frozenset(PROGRAMS) - {"split"}),
    "train.rate": (_param("train", "rate", 0.25), frozenset({"train", "evaluate", "report"})),
    "report.title": (_param("report", "title", "mistake"), frozenset({"report"})),
    "a parameter that no stage uses": (_param("unused", "value", 2), frozenset()),
    "raw.csv: touched": (_touch, frozenset()),
    "raw.csv: other content, old time": (_restore_backup, frozenset(PROGRAMS)),
    "train.rate: back to the first value": (
        _param("train", "rate", 0.5),
        frozenset({"train", "evaluate", "report"}),
    ),
    "train.rate: again to the second": (_param("train", "rate", 0.25), frozenset()),
    "model.json: deleted": (lambda root: (root / "model.json").unlink(), frozenset()),
}
"""Edits, made one after the other, and the stages whose command has to run: those with an input that is new.

With the row more, the first three quarters of the rows are still the same: `features` and `train` see nothing new.
Of the last three, two can be answered from an earlier run. Before the other one, data and code had changed.
"""


def after_edits(root: str, runner: str) -> dict[str, list[str]]:
    """The stages that ran after each edit, under `ours`, `dvc` or `make`; each run is in a process's own folder."""
    folder = lay(Path(root))
    log = folder.parent / f"{folder.name}.ran"
    os.environ.update(environment() | {"RAN": str(log)})
    run = {"ours": _run_ours, "dvc": _dvc(folder) if runner == "dvc" else None, "make": _run_make}[runner]
    found = {}
    for name, edit in {
        "nothing: the first run": lambda root: None,
        **{k: v[0] for k, v in EDITS.items()},
    }.items():
        log.write_text("")
        edit(folder)
        run(folder)
        found[name] = log.read_text().split()
    return found


def _run_ours(folder: Path) -> None:
    Pipeline(folder, stages()).run()


def _run_make(folder: Path) -> None:
    time.sleep(0.01)
    subprocess.run(["make", "--silent", "all"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def through_a_remote(root: str) -> dict[str, int]:
    """DVC's outputs, pushed to a folder as its remote; then cache and outputs are lost, and pulled again."""
    folder = lay(Path(root))
    os.environ.update(environment() | {"RAN": str(folder.parent / f"{folder.name}.ran")})
    _dvc(folder)(folder)
    from dvc.repo import Repo

    files = [file for made in MAKES.values() for file in made]
    before = {file: (folder / file).read_bytes() for file in files}
    with Repo(".") as repo:
        pushed = repo.push()
        shutil.rmtree(folder / ".dvc" / "cache")
        for file in files:
            (folder / file).unlink()
        repo.pull()
    equal = sum((folder / file).read_bytes() == content for file, content in before.items())
    return {"files": len(files), "pushed": pushed, "equal after the pull": equal}


def _dvc(folder: Path) -> Callable[[Path], None]:
    """Begin a DVC project in the folder, with a folder beside it as its remote; return what brings it up to date."""
    import logging

    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    os.chdir(folder)
    with Repo.init(".", no_scm=True) as repo:
        remote = folder.parent / f"{folder.name}.remote"
        with repo.config.edit() as config:
            config["remote"]["local"] = {"url": str(remote)}
            config["core"]["remote"] = "local"

    def run(_: Path) -> None:
        with Repo(".") as repo:
            repo.reproduce()

    return run


def hidden(root: str) -> dict[str, list[str]]:
    """What our pipeline runs again when something changes that no file shows; and when a file always differs."""
    folder = lay(Path(root))
    log = folder.parent / f"{folder.name}.ran"
    os.environ.update(environment() | {"RAN": str(log)})
    found = {}

    def ran(name: str, pipeline: Pipeline) -> None:
        log.write_text("")
        pipeline.run()
        found[name] = log.read_text().split()

    Pipeline(folder, stages()).run()
    os.environ["UNIT"] = " cm"
    ran("UNIT changes, undeclared", Pipeline(folder, stages()))
    Pipeline(folder, stages({"report": ("UNIT",)})).run()
    os.environ["UNIT"] = " mm"
    ran("UNIT changes, watched", Pipeline(folder, stages({"report": ("UNIT",)})))
    plain = (folder / "train.py").read_text()
    (folder / "train.py").write_text(plain + "# a comment\n")
    ran("a comment in train.py", Pipeline(folder, stages()))
    stamped = plain.replace('json.dump({"mean"', 'import time\njson.dump({"time": time.time(), "mean"')
    (folder / "train.py").write_text(stamped)
    Pipeline(folder, stages()).run()
    (folder / "train.py").write_text(stamped + "# a comment\n")
    ran("the same, and the model's file holds the time", Pipeline(folder, stages()))
    return found


def has_make() -> bool:
    """Whether a GNU make that knows grouped targets (4.3) is here."""
    if not shutil.which("make"):
        return False
    words = subprocess.run(["make", "--version"], capture_output=True, text=True).stdout.split()
    return words[:2] == ["GNU", "Make"] and tuple(map(int, words[2].split(".")[:2])) >= (4, 3)
