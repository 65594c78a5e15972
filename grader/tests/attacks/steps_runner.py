"""Runs the attacks of `steps/`: on what surrounds the sandbox, which are collecting, commands and formgrader.

An attack's `make(folder, right)` writes what a student hands in, as in `files/`; RAN is the path of a file that
nobody else writes, so that code of a submission which runs with the instructor's rights leaves a trace, COURSE that
of the course. Constants say the rest:

    INTO = "submitted"    it was put there past collecting
    INTO = "repository"   it is a repository of the class's git host; `git(folder, ...)`,
                          `commit(folder)` and `commit_path(folder, name, text)` make it
    NAMES = ["{course}"]  it is nothing but lines of repositories.csv; {course} is the course's own folder
    COMMANDS = [["summary", "hw"]]  what the instructor then runs inside of INSIDE, a folder below the course
    URLS = ["/formgrader"]          what the instructor's browser then asks of Jupyter

`change(folder)` changes what was graded once; it is then graded again. Where a command or an address has {student},
it is the attack's; {id} is formgrader's name of its notebook.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from grader.tests.attacks import lab
from grader.tests.attacks.corpus import Attack, Outcome
from grader.tests.attacks.files_runner import PART, build, make, module_scores, precious, right_files
from grader.tests.attacks.host import ADDRESS, Host, commit, commit_path, git
from grader.tests.attacks.notebook_runner import changes, contents, left_behind, machine
from grader.tests.attacks.watch import Canaries

NEIGHBOUR = "neighbour"
HANDS = {"git": git, "commit": commit, "commit_path": commit_path}  # that an attack may use
_FAR = datetime(2100, 1, 1, tzinfo=UTC)  # a deadline
START = 300  # seconds that Jupyter may take; only to end a hang
_PAGES = ("text/html", "application/xhtml", "xml", "javascript")


@dataclass
class Scene:
    """One attack on the course: what it hands in, what was said to the instructor, what it came to so far."""

    attack: Attack
    ran: Path
    harm: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    leaked: set[str] = field(default_factory=set)

    @property
    def student(self) -> str:
        return self.attack.name.replace("_", "-")

    def saw(self, what: str) -> None:
        """Notice whether code of the submission has run by now."""
        if self.ran.exists():
            self.ran.unlink()
            self.harm.append(f"{what} runs code of the submission with the instructor's rights")


def run(attacks: Sequence[Attack], *, progress: Callable[[str], None] = lambda _: None) -> list[Outcome]:
    """Let the attacks meet collecting, grading, commands and formgrader as one class; return what each came to."""
    from grader.steps.feedback import feedback
    from grader.steps.grade import grade

    with machine() as folder:
        canaries, root = Canaries(), folder / "course"
        build(root, canaries)
        right = right_files(root, canaries)
        git(root, "init", "-q")
        commit(root)  # many a course is a repository
        host = Host(folder / "host")
        (folder / "ran").mkdir()
        scenes = [Scene(attack, folder / "ran" / attack.name) for attack in attacks]
        before, outside = contents(root, without="submitted"), precious(folder)
        for name, text in {**right, "mine.txt": canaries.plant("neighbour")}.items():
            (folder / "inbox" / NEIGHBOUR).mkdir(parents=True, exist_ok=True)
            (folder / "inbox" / NEIGHBOUR / name).write_text(text, encoding="utf-8")
        for scene in scenes:
            progress(f"collecting {scene.attack.name}")
            _hand_in(scene, folder, root, right)
        _collect(scenes, folder, root, host)
        grade(root, lab.ASSIGNMENT, progress=lambda result, *_: progress(result.student))
        if _change(scenes, root):
            grade(root, lab.ASSIGNMENT, progress=lambda result, *_: progress(result.student))
        feedback(root, lab.ASSIGNMENT)
        for scene in scenes:
            scene.saw("collecting or grading")
            _run_commands(scene, root)
        if any("URLS" in scene.attack.options for scene in scenes):
            with _jupyter(root, folder) as port:
                for scene in scenes:
                    progress(f"formgrader, {scene.attack.name}")
                    _ask(scene, port, canaries)
        scores = module_scores(root)
        everywhere = changes(before, contents(root, without="submitted")) + left_behind(folder)
        everywhere += changes(outside, precious(folder))
        if scores.get(NEIGHBOUR) != {"lab": lab.FULL, "part": PART}:
            everywhere.append(f"the neighbour has {scores.get(NEIGHBOUR)}")
        return [_outcome(scene, root, scores, canaries, everywhere) for scene in scenes]


def _outcome(
    scene: Scene, root: Path, scores: dict[str, dict[str, float]], canaries: Canaries, everywhere: list[str]
) -> Outcome:
    options, harm = scene.attack.options, scene.harm + everywhere
    for step in ("submitted", "feedback"):
        for path in (root / step / scene.student).rglob("*"):
            if path.is_file() and not path.is_symlink():
                scene.leaked.update(canaries.find(path.read_bytes()))
    if (sentence := options.get("SAYS")) and sentence not in " ".join(scene.told):
        harm.append(f"nobody is told: {sentence}")
    return Outcome(
        scene.attack,
        sum(scores.get(scene.student, {}).values()),
        sum(options.get("DESERVES", {}).values()),
        sorted(scene.leaked),
        harm,
        scene.told[0] if scene.told else "",
        scene.told,
    )


# --- handing in and collecting ------------------------------------------------------------------------------


def _hand_in(scene: Scene, folder: Path, root: Path, right: dict[str, str]) -> None:
    into = scene.attack.options.get("INTO")
    if "NAMES" in scene.attack.options:
        return
    place = {
        "submitted": root / "submitted" / scene.student / lab.ASSIGNMENT,
        "repository": folder / "host" / "repositories" / "class" / scene.student,
    }.get(into, folder / "inbox" / scene.student)
    make(scene.attack, place, right, RAN=str(scene.ran), COURSE=str(root), **HANDS)


def _collect(scenes: Sequence[Scene], folder: Path, root: Path, host: Host) -> None:
    from grader.steps.collect import collect, collect_git

    lines, by_student = [], {scene.student: scene for scene in scenes}
    for scene in scenes:
        if scene.attack.options.get("INTO") == "repository":
            lines.append(f"{scene.student},{ADDRESS}/{scene.student}")
        for number, name in enumerate(scene.attack.options.get("NAMES", ())):
            student = f"{scene.student}-{number}"
            by_student[student] = scene
            lines.append(f'{student},"{name.format(course=root)}"')
    results = collect(root, lab.ASSIGNMENT, folder / "inbox")
    if lines:
        table = folder / "outside" / "repositories.csv"
        table.write_text("\n".join(lines))
        kept, os.environ["PATH"] = os.environ["PATH"], host.path
        try:
            results += collect_git(
                *(root, lab.ASSIGNMENT, table),
                allowed=[ADDRESS],
                key=host.key,
                deadline=_FAR,
            )
        finally:
            os.environ["PATH"] = kept
            table.unlink()
    for result in results:
        if scene := by_student.get(result.student):
            scene.told += [*([result.refused] if result.refused else ()), *result.notes]
            if "NAMES" in scene.attack.options and not result.refused:
                scene.harm.append(f"{result.student}: was collected")


def _change(scenes: Sequence[Scene], root: Path) -> bool:
    """Let attacks change what was graded; return whether any did."""
    changed = False
    for scene in scenes:
        scope: dict[str, object] = {}
        exec(compile(scene.attack.path.read_text(encoding="utf-8"), str(scene.attack.path), "exec"), scope)
        if "change" in scope:
            scope["change"](root / "submitted" / scene.student / lab.ASSIGNMENT)
            changed = True
    return changed


# --- what the instructor does afterwards --------------------------------------------------------------------


def _run_commands(scene: Scene, root: Path) -> None:
    """Run the instructor's commands, as `grader` does, in this process: what they run would have its rights."""
    from grader import cli

    inside = root / scene.attack.options.get("INSIDE", ".").format(student=scene.student)
    submitted = root / "submitted" / scene.student
    for words in scene.attack.options.get("COMMANDS", ()):
        before = sorted(submitted.rglob("*"))
        output = io.StringIO()
        arguments = [word.format(student=scene.student, course=root) for word in words]
        with redirect_stdout(output), chdir(inside):
            try:
                cli.app(arguments, standalone_mode=False)
            except (Exception, SystemExit) as error:
                output.write(f"{type(error).__name__}: {error}")
        scene.told.append(" ".join(output.getvalue().split()))
        scene.saw(f"grader {' '.join(words)}")
        if sorted(submitted.rglob("*")) != before:
            scene.harm.append(f"grader {' '.join(words)} takes the submission for a course of its own")


@contextmanager
def _jupyter(root: Path, folder: Path) -> Iterator[int]:
    """Yield the port of a Jupyter server that was started in the course, as INSTRUCTORS.md says."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyter",
        "server",
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
    ]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token="]
    scratch = folder / "home" / ".jupyter"
    places = {f"JUPYTER_{name}_DIR": str(scratch / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    log = folder / "home" / ".jupyter.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=root, env={**os.environ, **places}, stdout=file, stderr=file)
    try:
        end = time.monotonic() + START
        while not _is_up(port):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Jupyter does not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(START)


def _is_up(port: int) -> bool:
    with contextlib.suppress(OSError):
        return _get(port, "/api/status")[0] == 200
    return False


def _get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of what lies at `path`, after redirects; no client tidies the path up."""
    for _ in range(5):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            if answer.status not in (301, 302):
                return answer.status, headers, answer.read()
            path = headers["location"]
        finally:
            connection.close()
    raise RuntimeError(f"{path}: redirects without end")


def _ask(scene: Scene, port: int, canaries: Canaries) -> None:
    """Ask what the instructor's browser would, and look at what comes."""
    if "URLS" not in scene.attack.options:
        return
    rows = json.loads(_get(port, f"/formgrader/api/submitted_notebooks/{lab.ASSIGNMENT}/{lab.NOTEBOOK}")[2])
    identity = next((row["id"] for row in rows if row["student"] == scene.student), "none")
    for url in scene.attack.options["URLS"]:
        url = url.replace("{student}", scene.student).replace("{id}", identity)
        status, headers, body = _get(port, quote(url, safe="/%?=&:"))
        kind, policy = headers.get("content-type", ""), headers.get("content-security-policy", "")
        scene.saw(f"formgrader at {url}")
        scene.told.append(
            f"{status}: {body[:300].decode('utf-8', 'replace')}" if status != 200 else str(status)
        )
        if b"pwned" in body and any(page in kind for page in _PAGES) and "sandbox" not in policy:
            scene.harm.append(f"formgrader runs a page of the student's at {url}")
        scene.leaked.update(canaries.find(body))
