"""What checks a reader's code in the seminar: Hydra, DVC, MLflow, pytest, processes that are killed, Prometheus."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import yaml

from week09_experiment_tracking import forked_pytest, seminar_faults, seminar_project, seminar_stream
from week09_experiment_tracking.evidence import mutate
from week09_experiment_tracking.seminar_project import Project

MUTATED = ("held_out", "scaled", "augmented", "batches")
"""Functions of classifier/data.py that the mutation run changes."""
LIGHT = ("numpy", "hypothesis.extra.numpy")
HEAVY = (*LIGHT, "torch")


def copied(project: Project, name: str) -> Project:
    """A copy of a project beside it, with its git and its DVC; it replaces one of the same name."""
    target = project.folder.with_name(name)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project.folder, target, ignore=shutil.ignore_patterns("outputs", "multirun"))
    return Project(target)


# --- A: configuration ----------------------------------------------------------------------------------------------


def command_line(project: Project, overrides: Sequence[str]) -> Any:
    """What `python app.py --cfg job` composes, or "refused"."""
    done = project.python("app.py", "--cfg", "job", "--resolve", *overrides, check=False)
    return "refused" if done.returncode else yaml.safe_load(done.stdout)


def configuration(yours: Callable, project: Project) -> Callable[[list[str]], Any]:
    """Exercise A: what your function composes from the project's conf/, or "refused" where Hydra raises."""
    from hydra.errors import HydraException

    def trial(overrides):
        try:
            found = yours(project.folder / "conf", overrides)
        except HydraException:
            return "refused"
        return found if type(found) is dict else f"a {type(found).__name__}, not a dict"

    return trial


# --- B: stages -----------------------------------------------------------------------------------------------------


def test_row(project: Project) -> np.ndarray:
    """One of the images that were kept back, with its label, that falls into the project's test set."""
    sys.path.insert(0, str(project.folder))
    try:
        from classifier.data import held_out
    finally:
        sys.path.remove(str(project.folder))
    rows = seminar_project.digits()[-seminar_project.KEPT_BACK :]
    return rows[held_out(rows[:, :64].astype(np.uint8), project.params["data"]["held_out"])][:1]


def _edits(project: Project) -> dict[str, Callable[[], Any]]:
    def one_more_image():
        with open(project.folder / "data/raw/scanner1.csv", "a", encoding="utf-8") as file:
            np.savetxt(file, test_row(project), fmt="%d", delimiter=",")
        project.dvc("add", "--quiet", "data/raw")

    return {
        "first run": lambda: None,
        "nothing": lambda: None,
        "another way to read the exported file": lambda: project.edit(
            "classifier/inference.py", "np.maximum(x @ weight.T + bias, 0)", "(x @ weight.T + bias).clip(0)"
        ),
        "a comment in the training": lambda: project.edit(
            "classifier/training.py", "# the weights, then dropout", "# weights, then dropout"
        ),
        "one more test image": one_more_image,
    }


def evaluate_stage(yours: Callable[[], dict], base: Project) -> Callable[[str], str]:
    """Exercise B: what `dvc repro` does with your stage after each edit, one after the other, in a copy of `base`.

    For "dvc metrics show" it says whether DVC finds the accuracy.
    """
    state: dict[str, Project] = {}

    def trial(edit):
        stage = yours()
        if not state:
            state["now"] = copied(base, "exercise-b")
            described = yaml.safe_load(state["now"].read("dvc.yaml"))
            described["stages"]["evaluate"] = stage
            (state["now"].folder / "dvc.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
            lock = yaml.safe_load(state["now"].read("dvc.lock"))
            del lock["stages"]["evaluate"]
            (state["now"].folder / "dvc.lock").write_text(yaml.safe_dump(lock), encoding="utf-8")
            (state["now"].folder / "metrics.json").unlink()
            shutil.rmtree(state["now"].folder / ".dvc/cache/runs")  # or it would be found there
        project = state["now"]
        if edit == "dvc metrics show":
            return "scanner1" in project.dvc("metrics", "show", "--json")
        _edits(project)[edit]()
        return project.repro().get("evaluate", "is not there")

    return trial


EDITS: dict[str, Callable[[Project], None]] = {
    "the training, a comment": lambda project: project.edit(
        "classifier/training.py", "# the weights, then dropout", "# weights, then dropout"
    ),
    "params.yaml, train.lr": lambda project: project.edit("params.yaml", "lr: 0.05", "lr: 0.02"),
    "params.yaml, train.lr back": lambda project: project.edit("params.yaml", "lr: 0.02", "lr: 0.05"),
    "evaluate.py, 3 digits for 4": lambda project: project.edit("evaluate.py", ".mean(), 4)", ".mean(), 3)"),
}
"""Edits that the page makes, one after the other."""


# --- D: tests ------------------------------------------------------------------------------------------------------


def faults(project: Project) -> dict[str, forked_pytest.Outcome]:
    """What the project's suite says of the project and of each planted fault, up to the first failure."""
    versions = seminar_faults.planted(project.folder)
    environ = seminar_project.environment(project.folder.parent)
    return forked_pytest.outcomes(project.folder, versions, ["tests"], HEAVY, first=True, environment=environ)


def data_mutants(project: Project) -> list[mutate.Mutant]:
    """The mutants of classifier/data.py."""
    return mutate.mutants(project.read("classifier/data.py").decode(), MUTATED)


def mutation_run(project: Project, mutants: Sequence[mutate.Mutant]) -> dict[int, str]:
    """For each mutant's number the test that kills it first, or "" for a survivor."""
    versions = {str(one.number): {"classifier/data.py": one.source} for one in mutants}
    environ = seminar_project.environment(project.folder.parent)
    found = forked_pytest.outcomes(
        project.folder, versions, ["tests/test_data.py"], LIGHT, first=True, environment=environ
    )
    return {
        int(name): next((test for test, ok in told.items() if not ok), "") for name, told in found.items()
    }


SURVIVORS = {
    "the order of the batches is not checked": (
        "classifier/data.py", "if sorted(order) != list(range(count)):", "if False:",
    ),
    "one direction twice": ("classifier/data.py", "(1, 0), (-1, 0), (0, 1)", "(1, 0), (1, 0), (0, 1)"),
    "no epsilon in the export": (
        "classifier/model.py", "(after.running_var.double() + after.eps)", "(after.running_var.double())",
    ),
}  # fmt: skip
"""Three faults that the suite lets pass: file, text, and what stands there instead."""


POINT = """

def test_the_copies_of_a_point_are_the_point_and_its_four_neighbours():
    image = np.zeros((1, 64), np.uint8)
    image[0, 8 * 3 + 4] = 9
    copies, _ = data.augmented(image, np.array([1]))
    assert (copies.sum(1) == 9).all()
    assert {divmod(int(copy.argmax()), 8) for copy in copies} == {(3, 4), (3, 5), (3, 3), (4, 4), (2, 4)}
"""
"""A test that the page adds to tests/test_data.py."""


def survivors(yours: Callable[[], str], project: Project) -> Callable[[str], str]:
    """Exercise D: run your tests with pytest on the project as it is, and with each of three faults.

    A version "passes" or is "killed". Tests that fail without any fault are a mistake of their own.
    """
    state: dict[str, forked_pytest.Outcome] = {}

    def trial(version):
        text = textwrap.dedent(yours())
        if not state:
            versions: dict[str, dict[str, str]] = {"as it is": {}}
            for name, (file, old, new) in SURVIVORS.items():
                versions[name] = {file: project.read(file).decode().replace(old, new)}
            for changes in versions.values():
                changes["tests/test_mine.py"] = text
            environ = seminar_project.environment(project.folder.parent)
            state.update(
                forked_pytest.outcomes(
                    project.folder, versions, ["tests/test_mine.py"], HEAVY, environment=environ
                )
            )
        told = state[version]
        if not told:
            return "no test was found"
        return "passes" if all(told.values()) else "killed"

    return trial


# --- E: CI ---------------------------------------------------------------------------------------------------------


def workflow(project: Project) -> list[dict[str, str]]:
    """The steps of the project's CI that are commands, in order: [{"name": ..., "run": ...}]."""
    described = yaml.safe_load(project.read(".github/workflows/ci.yml"))
    return [step for step in described["jobs"]["test"]["steps"] if "run" in step]


def shell(project: Project) -> Callable[[str], int]:
    """Runs a command in the project as CI does (`bash -e`), and returns its status."""
    return lambda command: project.run("bash", "-e", "-c", command, check=False).returncode


def run_steps(steps: Sequence[Mapping[str, str]], run: Callable[[str], int]) -> list[tuple[str, str]]:
    """What became of each step: "passed", "failed", or "not run" after one that failed."""
    found, failed = [], False
    for step in steps:
        if failed:
            found.append((step["name"], "not run"))
            continue
        failed = run(step["run"]) != 0
        found.append((step["name"], "failed" if failed else "passed"))
    return found


def ci(yours: Callable, project: Project) -> Callable[[list[str]], list]:
    """Exercise E: run these commands as the steps of a workflow, in the project; names are "1", "2", ..."""
    copy = copied(project, "exercise-e")

    def trial(commands):
        steps = [{"name": str(number), "run": command} for number, command in enumerate(commands, 1)]
        found = yours(steps, shell(copy))
        return [*map(list, found), sorted(path.name for path in copy.folder.glob("step*"))]

    return trial


# --- F: checkpoints ------------------------------------------------------------------------------------------------


def resumed(yours: Callable, project: Project) -> Callable[[int], str]:
    """Exercise F: kill a training with SIGKILL at a step, go on from the checkpoint that you have completed.

    Both happen in forks of one child process. The answer says whether the exported files are equal.
    """

    def trial(step):
        with contextlib.suppress(AttributeError, TypeError):  # a stub needs no process to be seen
            yours(None)
        line = [sys.executable, "-m", __name__]
        environ = seminar_project.environment(project.folder.parent)
        done = subprocess.run(
            line, input=cloudpickle.dumps((yours, step)), cwd=project.folder, env=environ, capture_output=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-500:].strip().splitlines()[-1])
        return json.loads(done.stdout)

    return trial


def _resumed_worker() -> None:
    import signal
    import tempfile

    import torch
    from classifier.model import export
    from classifier.training import Run

    torch.set_num_threads(1)
    yours, step = cloudpickle.loads(sys.stdin.buffer.read())
    params = yaml.safe_load(Path("params.yaml").read_text())
    with np.load("data/prepared.npz") as prepared:
        images, labels = prepared["images"][:200], prepared["labels"][:200]

    def forked(part: Callable[[], None]) -> int:
        child = os.fork()
        if not child:
            status = 1
            try:
                part()
                status = 0
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "checkpoint")

        def uninterrupted():
            run = Run(params, images, labels)
            while not run.finished:
                run.step()
            export(run.model, Path(folder, "whole.npz"))

        def killed():
            run = Run(params, images, labels)
            for _ in range(step):
                run.step()
            torch.save({"model": run.model.state_dict(), "steps": run.steps, "more": yours(run)}, kept)
            os.kill(os.getpid(), signal.SIGKILL)

        def goes_on():
            run, state = Run(params, images, labels), torch.load(kept, weights_only=True)
            run.model.load_state_dict(state["model"])
            run.steps = state["steps"]
            yours(run, state["more"])
            while not run.finished:
                run.step()
            export(run.model, Path(folder, "resumed.npz"))

        status = [forked(part) for part in (uninterrupted, killed, goes_on)]
        if status != [0, -signal.SIGKILL, 0]:
            sys.exit(1)
        same = Path(folder, "whole.npz").read_bytes() == Path(folder, "resumed.npz").read_bytes()
        print(json.dumps("equal to the bit" if same else "another network"))


# --- G and H: alarms, retraining -----------------------------------------------------------------------------------


def alerting(yours: Callable[[], str], project: Project) -> Callable[[str], Any]:
    """Exercise G: what a real Prometheus with your rules says of the stream "before" it drifts and "after".

    Before, it gives the alerts that are pending or firing; after, whether `Drift` fires within 30 s.
    """
    state: dict[str, seminar_stream.Watched] = {}

    def trial(when):
        rules = yours()
        if not state:
            state["now"] = seminar_stream.watched(project, rules)
        return state["now"].before if when == "before" else state["now"].fired > 0

    return trial


def retraining(yours: Callable, base: Project) -> Callable[[str], Any]:
    """Exercise H: give your function a copy of the project and the rows of the second scanner; look what it did.

    The questions: which "stages" ran, how many of the test images are the second scanner's ("test images"), whether
    git has all "committed", and whether "a colleague" gets the new network with `git clone` and `dvc pull`.
    """
    state: dict[str, Any] = {}

    def trial(question):
        if not state:
            project = copied(base, "exercise-h")
            state["stages"] = yours(project, seminar_stream.second_scanner())
            state["project"] = project
        project = state["project"]
        if question == "committed":
            return project.git("status", "--porcelain").strip() == ""
        if question == "scanners":
            return sorted(project.metrics()["accuracy"])
        if question == "a colleague":
            other = project.folder.with_name("exercise-h-colleague")
            shutil.rmtree(other, ignore_errors=True)
            project.git("clone", "--quiet", str(project.folder), str(other))
            Project(other).dvc("pull", "--quiet")
            return Project(other).read("model.npz") == project.read("model.npz")
        return state["stages"]

    return trial


if __name__ == "__main__":
    _resumed_worker()
