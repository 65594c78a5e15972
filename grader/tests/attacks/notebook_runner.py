"""Runs the attacks of `notebooks/` through `grader.steps.grade.grade`, and through stock `nbgrader autograde`.

An attack's file holds what a student writes into the cells of the lab (see lab.py): after a line `# %% mean`
stands the answer of that name, after `# %% own` a cell of the student's. A function `edit(notebook, cells)`
above them changes the submitted JSON itself. Among the attacks honest neighbours are graded.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from grader.tests.attacks import lab
from grader.tests.attacks.corpus import Attack, Outcome
from grader.tests.attacks.watch import Canaries, files_left

MAX_GRADED = 12 << 20  # bytes of a graded notebook
STALLED = 75  # seconds without a word after which stock nbgrader is taken to hang
_SECTION = re.compile(r"^# %% (\w+)\n", re.M)


def handed_in(attack: Attack, root: Path) -> str:
    """Return the notebook that an attack hands in, as text."""
    head, *pieces = _SECTION.split(attack.path.read_text(encoding="utf-8"))
    answers = {name: text.strip("\n") for name, text in zip(pieces[::2], pieces[1::2], strict=True)}
    notebook, cells = lab.answered(root, answers)
    scope: dict[str, object] = {}
    exec(compile(head, str(attack.path), "exec"), scope)
    if "edit" in scope:
        scope["edit"](notebook, cells)
    return json.dumps(notebook)


def run(
    attacks: Sequence[Attack], *, stock: bool = False, progress: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Grade the attacks as one class; return what each came to.

    With `stock`, by `nbgrader autograde` instead: attacks that harm others get a class of their own, and those
    that say why stock must not meet them are left out.
    """
    with machine() as folder:
        canaries = Canaries()
        os.environ["GRADER_TOKEN"] = canaries.plant("environment")
        lab.build(folder / "course", canaries)
        if not stock:
            return _ours(attacks, folder / "course", canaries, progress)
        attacks = [attack for attack in attacks if "STOCK" not in attack.options]
        apart = [attack for attack in attacks if attack.family == "harm" or attack.options.get("ALONE")]
        found = {}
        for group in ([a for a in attacks if a not in apart], *([attack] for attack in apart)):
            found |= stock_class(group, folder, canaries, _submit, progress)
    return [found[attack.name] for attack in attacks]


# --- this grader --------------------------------------------------------------------------------------------


def _ours(
    attacks: Sequence[Attack], root: Path, canaries: Canaries, progress: Callable[[str], None]
) -> list[Outcome]:
    from grader.steps.feedback import feedback
    from grader.steps.grade import grade

    for attack in attacks:
        lab.submit(root, attack.name, handed_in(attack, root))
    beside = neighbours(attacks)
    for neighbour in set(beside.values()):
        lab.submit(root, neighbour, lab.honest(root, canaries))
    before = contents(root)
    results = grade(root, lab.ASSIGNMENT, progress=lambda result, *_: progress(result.student))
    # Feedback is what a student gets to read; only some attacks try to have a secret in it.
    shown = [a.name for a in attacks if a.family == "secrets" or a.options.get("FEEDBACK")]
    pages = feedback(root, lab.ASSIGNMENT, students=shown) if shown else {}
    graded, scores = {result.student: result for result in results}, lab.scores(root)
    everywhere = changes(before, contents(root)) + left_behind(root.parent)
    outcomes = []
    for attack in attacks:
        result, neighbour = graded[attack.name], beside[attack.name]
        harm = list(everywhere)
        if scores.get(neighbour) != lab.FULL:
            harm.append(f"a neighbour has {scores.get(neighbour)} of {lab.FULL:g} points")
        if result.error:
            harm.append(result.error)
        path = root / "autograded" / attack.name / lab.ASSIGNMENT / f"{lab.NOTEBOOK}.ipynb"
        if path.exists() and path.stat().st_size > MAX_GRADED:
            harm.append(f"the graded notebook has {path.stat().st_size >> 20} MiB")
        if (sentence := attack.options.get("SAYS")) and sentence not in " ".join(result.notes):
            harm.append(f"nobody is told: {sentence}")
        shown = "".join(page.read_text(encoding="utf-8") for page in pages.get(attack.name, ()))
        outcomes.append(
            Outcome(
                attack,
                scores.get(attack.name, 0.0),
                attack.options.get("DESERVES", 0),
                canaries.find(shown),
                harm,
                result.summary(),
                result.notes,
            )
        )
    return outcomes


def neighbours(attacks: Sequence[Attack]) -> dict[str, str]:
    """Return the honest student whose work is graded beside an attack: one for four of them."""
    return {attack.name: f"{attacks[index - index % 4].name}-next" for index, attack in enumerate(attacks)}


# --- stock nbgrader -----------------------------------------------------------------------------------------


def stock_class(
    attacks: Sequence[Attack],
    folder: Path,
    canaries: Canaries,
    hand_in: Callable[[Attack, Path], str],
    progress: Callable[[str], None],
) -> dict[str, Outcome]:
    """Grade the attacks as one class with nbgrader; one that stops the class is taken out, and it goes on.

    `hand_in` puts an attack into the course at a path and returns the student's id. The course to copy lies in
    `folder`/course.
    """
    if not attacks:
        return {}
    root = folder / "stock" / attacks[0].name
    shutil.copytree(folder / "course", root, ignore=shutil.ignore_patterns("submitted"))
    students = {hand_in(attack, root): attack for attack in attacks}
    lab.submit(root, "zz-neighbour", lab.honest(root, canaries))
    before = contents(root)
    harm: dict[str, list[str]] = {student: [] for student in students}
    waiting = {path.parent.name for path in root.glob(f"submitted/*/{lab.ASSIGNMENT}")}
    while waiting:
        progress(f"stock nbgrader, {len(waiting)} to go")
        told = autograde(root)
        tried = re.findall(rf"Sanitizing \S*/submitted/([^/]+)/{lab.ASSIGNMENT}/", told)
        failed = re.findall(r"for student '([^']+)'", told)
        for name in failed:
            if name in harm:
                harm[name].append("could not be graded")
        graded = {path.parent.name for path in root.glob(f"autograded/*/{lab.ASSIGNMENT}")}
        done = graded | set(failed)
        if waiting <= done:
            break
        culprit = tried[-1] if tried else min(waiting - done)
        if culprit == "zz-neighbour" or culprit not in waiting:
            break
        harm[culprit].append("the class waits for ever" if "had stopped" in told else "stops the class")
        shutil.move(root / "submitted" / culprit, folder / f"taken-out-{culprit}")
        shutil.rmtree(root / "autograded" / culprit, ignore_errors=True)
        waiting -= done | {culprit}
    everywhere = [
        change for change in changes(before, contents(root)) if not any(name in change for name in harm)
    ] + left_behind(folder)
    scores = lab.scores(root)
    if scores.get("zz-neighbour") != lab.FULL:
        everywhere.append(f"a neighbour has {scores.get('zz-neighbour')} of {lab.FULL:g} points")
    return {
        attack.name: Outcome(
            attack,
            scores.get(student, 0.0),
            _deserved(attack),
            canaries.find(_printed(root / "autograded" / student / lab.ASSIGNMENT)),
            harm[student] + everywhere,
        )
        for student, attack in students.items()
    }


def _submit(attack: Attack, root: Path) -> str:
    lab.submit(root, attack.name, handed_in(attack, root))
    return attack.name


def _deserved(attack: Attack) -> float:
    """Return what the notebook of an attack is worth; the module of `files/` is none of stock nbgrader's."""
    points = attack.options.get("DESERVES", 0)
    return points.get(lab.NOTEBOOK, 0) if isinstance(points, dict) else points


def autograde(root: Path) -> str:
    """Run stock `nbgrader autograde` on the course at `root`; return what it logged.

    Where it logs nothing for STALLED seconds, it waits for a kernel that will not answer, and is ended.
    """
    command = [sys.executable, "-m", "nbgrader", "autograde", lab.ASSIGNMENT]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    log, known, quiet = root / "autograde.log", 0, 0
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, "PATH": path},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(1)
                quiet, known = (quiet + 1 if known == log.stat().st_size else 0), log.stat().st_size
                if quiet > STALLED:
                    return log.read_text(errors="replace") + "\nended: it had stopped\n"
        finally:
            for child in (
                psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ()
            ):
                child.kill()
            process.kill()
            process.wait()
    return log.read_text(errors="replace")


def _printed(folder: Path) -> str:
    """Return everything in a graded notebook that a student's code printed or showed."""
    path = folder / f"{lab.NOTEBOOK}.ipynb"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return ""
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    texts = [
        output.get("text") or output.get("data") for output in outputs if output["output_type"] != "error"
    ]
    return "".join("".join(text) if isinstance(text, list) else json.dumps(text) for text in texts)


# --- the machine around a class -----------------------------------------------------------------------------


@contextmanager
def machine() -> Iterator[Path]:
    """Yield a new folder for courses, with a home and a folder for temporary files beside them.

    Processes that outlive their parents become children of this one, so that none is lost from sight.
    """
    kept = dict(os.environ), tempfile.tempdir
    folder = Path(tempfile.mkdtemp())
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    os.environ["HOME"] = str(folder / "home")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder / "tmp")
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    try:
        yield folder
    finally:
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
        os.environ.clear()
        os.environ.update(kept[0])
        tempfile.tempdir = kept[1]
        # Some attacks nest folders deeper than shutil.rmtree can follow.
        subprocess.run(["rm", "-rf", "--one-file-system", str(folder)], check=True)


def left_behind(folder: Path) -> list[str]:
    """Return the processes and files that a class left outside the course, and end the processes."""
    found = []
    children = [child for child in psutil.Process().children(recursive=True) if _lives_here(child, folder)]
    _, stayed = psutil.wait_procs(children, timeout=10)
    for child in psutil.Process().children():
        # What was left to this process as it ended, and nobody waits for.
        if child.status() == psutil.STATUS_ZOMBIE:
            child.wait(0)
    for process in stayed:
        found.append(f"process {process.pid} is left")
        process.kill()
    for place in ("home", "tmp"):
        for path in (folder / place).iterdir():
            # Jupyter keeps its own files in hidden folders, and a kernel's address where it is killed.
            if path.name[0] != "." and not re.fullmatch(r"tmp\w+\.json", path.name):
                found.append(f"{place}/{path.name} is left")
                subprocess.run(["rm", "-rf", str(path)], check=True)
    return found + files_left()


def _lives_here(process: psutil.Process, folder: Path) -> bool:
    """Return whether a process was started by a class in `folder`, which its environment tells."""
    try:
        running = process.status() != psutil.STATUS_ZOMBIE
        return running and process.environ().get("TMPDIR") == str(folder / "tmp")
    except psutil.Error:
        return False


def contents(root: Path, *, without: str = "") -> dict[str, bytes]:
    """Return the files of a course that grading must not change, less those of one step."""
    kept = {"source", "release", "submitted", "nbgrader_config.py", "course.toml"} - {without}
    paths = [path for name in kept for path in [root / name, *(root / name).rglob("*")]]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}


def changes(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Return a sentence for each file that was changed, added or deleted."""
    words = (
        (before.keys() - after.keys(), "is gone"),
        (after.keys() - before.keys(), "is new"),
        ({name for name in before.keys() & after.keys() if before[name] != after[name]}, "is changed"),
    )
    return [f"{name} {what}" for names, what in words for name in sorted(names)]
