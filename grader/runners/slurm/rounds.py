"""One attempt at a part of a class: an array job's tasks, their keys, and what comes back, as files.

    .grader/HW/slurm/            0700, of the account that grades
        key                      0600, the submit host's; keys of tasks follow from it
        ID/round.json            what was planned, for a submit host that is started again
        ID/task-N                to task N, sealed: which submissions, which checks
        ID/key-N                 0600; task N takes it away before it runs anything
        ID/report-N-I            from task N on its submission I, sealed
        ID/end-N                 from task N: it is done, or what kept it from working; sealed
        ID/N.txt                 what it printed

Every attempt has an ID and keys of its own. What a task did not do goes into a new attempt; the earlier one is
closed, its key is taken away, and what it writes after that counts for nothing.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from grader.course import CourseError
from grader.runners.slurm import sealed
from grader.runners.slurm.sealed import About, Refused

NAME = "grader-"  # in front of an attempt's ID, in the queue
_ID = re.compile(r"[0-9a-f]{16}")
_MOST_REFUSED = 200  # files that are kept for a person to look at
_OLD = ".old"  # behind the name of an attempt that is being deleted


@dataclass(frozen=True)
class Asked:
    """What is asked of a task about one submission."""

    student: str
    folder: str  # where the submission lies, for every machine
    digest: str  # of the files that a worker sees
    checks: dict[str, list[str]]  # by notebook


@dataclass
class Answer:
    """What a task says of one submission."""

    student: str
    digest: str  # of the files that were examined
    reports: dict[str, dict[str, Any]]  # by notebook
    seconds: float
    memory: int  # bytes, at most
    node: str
    startup: float  # seconds from the start of Slurm's own process on the node to the first submission


@dataclass
class Ended:
    """What a task says when it is done. `trouble` is a sentence on what keeps its node from grading at all."""

    node: str
    trouble: str = ""


@dataclass
class Task:
    """One task of a round, as the submit host sees it."""

    number: int
    asked: list[Asked]
    wanted: set[int] = field(default_factory=set)  # submissions that nobody has answered yet
    seen: set[int] = field(default_factory=set)  # that have begun
    told: set[int] = field(default_factory=set)  # of these, whose beginning was shown
    ended: Ended | None = None
    closed: bool = False


class Keys:
    """The folder of an assignment's attempts, and the one secret that the keys of all tasks follow from."""

    def __init__(self, folder: Path):
        """Make the folder and the secret where they are missing; raises CourseError where they are another's."""
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            folder.chmod(0o700)
            path = folder / "key"
            if not path.exists():
                sealed.write(path, secrets.token_bytes(32))
            self.master = sealed.read(path)
        except PermissionError:
            raise CourseError(
                f"{folder}: belongs to another account, which began to grade with Slurm; let it go on, or delete "
                "the folder when nothing of it is in the queue"
            ) from None
        if len(self.master) != 32:
            raise CourseError(f"{folder / 'key'}: not 32 bytes; delete {folder} and grade again")

    def of(self, round_: str, task: int) -> bytes:
        return sealed.key_of(self.master, round_, task)

    def rounds(self) -> Iterator[Round]:
        """Yield the attempts that an earlier submit host has left; what is no whole attempt is deleted."""
        for folder in sorted(path for path in self.folder.iterdir() if path.is_dir()):
            if folder.name.endswith(_OLD):
                shutil.rmtree(folder, ignore_errors=True)
            if not _ID.fullmatch(folder.name):
                continue
            try:
                data = json.loads(sealed.read(folder / "round.json"))
                tasks = [
                    Task(number, [Asked(**one) for one in asked])
                    for number, asked in enumerate(data["tasks"])
                ]
            except (OSError, ValueError, TypeError, KeyError, Refused):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            yield Round(self, folder.name, tasks, data.get("common"))

    def begin(self, batches: Sequence[Sequence[Asked]], common: dict[str, Any]) -> Round:
        """Write a new attempt, complete before anybody is asked to run it. `common` is told to every task."""
        made = Round(
            self,
            secrets.token_hex(8),
            [Task(number, list(batch), set(range(len(batch)))) for number, batch in enumerate(batches)],
            common,
        )
        made.folder.mkdir(mode=0o700)
        for task in made.tasks:
            key = self.of(made.id, task.number)
            body = json.dumps({**common, "asked": [asdict(one) for one in task.asked]}).encode()
            message = sealed.seal(key, About("task", made.id, task.number), body)
            sealed.write(made.folder / f"task-{task.number}", message)
            sealed.write(made.folder / f"key-{task.number}", key)
        plan = {"common": common, "tasks": [[asdict(one) for one in task.asked] for task in made.tasks]}
        sealed.write(made.folder / "round.json", json.dumps(plan).encode())
        return made


class Round:
    """One attempt, seen from the submit host."""

    def __init__(self, keys: Keys, id_: str, tasks: list[Task], common: dict[str, Any] | None):
        self._keys, self.id, self.tasks, self.common = keys, id_, tasks, common
        self.folder = keys.folder / id_
        self.job = NAME + id_
        self.lost = False  # a task ended without a word of its own, and may still live

    @property
    def open(self) -> list[Task]:
        return [task for task in self.tasks if not task.closed]

    def close_task(self, task: Task) -> None:
        """Take nothing more from this task, and let it start no more."""
        task.closed = True
        for name in (f"key-{task.number}", f"task-{task.number}"):
            (self.folder / name).unlink(missing_ok=True)

    def delete(self) -> None:
        """Forget the attempt. A task that still runs finds no place for what it would write, and ends."""
        aside = self.folder.with_name(f".{self.id}{_OLD}")
        try:
            self.folder.rename(aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    def printed(self, task: Task, limit: int = 400) -> str:
        """Return the last line that a task printed, for a person."""
        try:
            lines = sealed.read(self.folder / f"{task.number}.txt").decode("utf-8", "replace").split("\n")
        except (OSError, Refused):
            return ""
        lines = [line.strip() for line in lines if line.strip()]
        return lines[-1][:limit] if lines else ""

    # --- what comes back ----------------------------------------------------------------------------------

    def news(self) -> Iterator[tuple[Task, int, Answer | Refused]]:
        """Yield each report that is new, or why it is not taken; a refused one is moved out of the way.

        Ends of tasks are noted in the tasks. Whoever may write here may also delete: then it is examined again.
        """
        try:
            names = {entry.name for entry in os.scandir(self.folder)}
        except FileNotFoundError:
            return
        for task in self.open:
            for index in sorted(task.wanted):
                if f"began-{task.number}-{index}" in names:
                    task.seen.add(index)
                name = f"report-{task.number}-{index}"
                if name not in names:
                    continue
                try:
                    yield task, index, self._answer(task, index, name)
                    task.wanted.discard(index)
                except FileNotFoundError:
                    continue
                except Refused as refused:
                    self._set_aside(name)
                    yield task, index, refused
            if task.ended is None and f"end-{task.number}" in names:
                about = About("end", self.id, task.number)
                try:
                    task.ended = Ended(**json.loads(self._body(about, f"end-{task.number}")))
                except (FileNotFoundError, Refused, TypeError, ValueError):
                    # Slurm's own word on its end comes later.
                    self._set_aside(f"end-{task.number}")

    def _answer(self, task: Task, index: int, name: str) -> Answer:
        about, asked = About("report", self.id, task.number, index), task.asked[index]
        try:
            answer = Answer(**json.loads(self._body(about, name)))
        except (TypeError, ValueError) as error:
            raise Refused(f"{about}: written by another version of the grader ({error})") from None
        if answer.student != asked.student:
            raise Refused(f"{about}: is about {answer.student!r}, and {asked.student!r} was asked for")
        if answer.digest != asked.digest:
            raise Refused(
                f"{about}: {asked.student}'s files that it examined are not those that were handed in"
            )
        for notebook, names in asked.checks.items():
            told = {check["name"] for check in answer.reports.get(notebook, {}).get("checks", [])}
            if missing := set(names) - told:
                raise Refused(f"{about}: says nothing of {', '.join(sorted(missing))}")
        return answer

    def _body(self, about: About, name: str) -> bytes:
        return sealed.opened(self._keys.of(self.id, about.task), about, sealed.read(self.folder / name))

    def _set_aside(self, name: str) -> None:
        refused = self._keys.folder / "refused"
        refused.mkdir(mode=0o700, exist_ok=True)
        try:
            if len(os.listdir(refused)) >= _MOST_REFUSED:  # whoever writes them would write for ever
                (self.folder / name).unlink()
                return
            (self.folder / name).replace(refused / f"{self.id}-{name}-{secrets.token_hex(4)}")
        except OSError:
            shutil.rmtree(self.folder / name, ignore_errors=True)  # a folder of that name
