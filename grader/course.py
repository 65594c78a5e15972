"""What `course.toml` says: assignments, parts, points, deadlines and thresholds, as typed values."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from grader import slurm_settings
from grader.course_file import Table, Wrong, parse, place, read_text
from grader.slurm_settings import Slurm

MIB = 1 << 20
_UNITS = {"KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}
_MOST_GPUS = 1  # more would need a lease of several at once, without two jobs that wait for each other


class CourseError(Exception):
    """The course's own data is wrong; the sentence names the file, the value and the remedy."""


def parse_size(text: str) -> int:
    """Return the number of bytes in a size such as `"512MiB"`; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB)", text)
    if not match:
        raise ValueError(f"{text!r} is not a size; write a number and KiB, MiB or GiB, such as 512MiB")
    return int(float(match[1]) * _UNITS[match[2]])


_MARKS = ("course.toml", "nbgrader_config.py", "nbgrader_config.json", "gradebook.db")  # of a course root
_STRANGERS = "submitted", "autograded", "feedback"  # nbgrader's folders of what students wrote
_RENAMED = re.compile(r"\b(?:submitted|autograded|feedback)_directory\s*=\s*['\"]([^'\"]+)")
_MOST_SETTINGS = 1 << 20  # bytes of a nbgrader_config.json that is looked at before anybody trusts it


def course_around(path: Path) -> Path | None:
    """Return the course in whose folders of students' work `path` lies, None where it lies in none.

    There a `course.toml`, `nbgrader_config.py` or `checks/` is a stranger's, and nothing of it may be run.
    """
    path = path.resolve()
    for root in reversed(path.parents):  # the outermost first: whatever lies below may be a stranger's
        # Not the first piece alone: nbgrader can put the assignment or the student before the step.
        if not _strangers_folders(root).isdisjoint(path.relative_to(root).parts):
            return root
    return None


def _strangers_folders(root: Path) -> set[str]:
    """Return the names of the folders of a course that hold students' work, nothing where `root` is no course."""
    if not any((root / name).is_file() for name in _MARKS):
        return set()
    config = root / "nbgrader_config.py"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    # Not executed to find out: so far nobody has said that this is a course to be trusted.
    names = {*map(str, _RENAMED.findall(text)), *_renamed_in_json(root / "nbgrader_config.json")}
    inside = [Path(name).parts[:1] for name in names if not Path(name).is_absolute()]
    return {*_STRANGERS, *(name for first in inside for name in first)}


def _renamed_in_json(path: Path) -> set[str]:
    """Return the names that a nbgrader_config.json gives the folders of students' work, none where it is no JSON."""
    try:
        settings = json.loads(path.read_bytes()) if path.stat().st_size <= _MOST_SETTINGS else {}
    except (OSError, ValueError, RecursionError):
        return set()  # nbgrader does not follow it either
    sections = (
        settings.values() if isinstance(settings, dict) else ()
    )  # CourseDirectory, once called NbGrader
    keys = [f"{step}_directory" for step in _STRANGERS]
    names = [section.get(key) for section in sections if isinstance(section, dict) for key in keys]
    return {name for name in names if isinstance(name, str)}


def refuse_strangers(root: Path) -> None:
    """Raise CourseError where `root` lies among what students handed in to another course."""
    if (course := course_around(root)) is not None:
        raise CourseError(
            f"{root}: lies among the students' files of {course}; name that course, not a submission"
        )


@dataclass(frozen=True)
class Part:
    """One notebook of an assignment, the modules that the student edits, and what each item is worth."""

    assignment: str
    number: int
    title: str
    source: Path  # the folder that holds the notebook, the modules and checks/
    notebook: str  # file name without its ending
    files: tuple[str, ...]
    items: dict[str, float]  # one autograded check cell each: id -> points
    reports: dict[str, float] = field(default_factory=dict)  # graded by hand: id -> points
    extras: frozenset[str] = frozenset()  # items beyond the points that make a full grade
    modules: dict[str, str] = field(default_factory=dict)  # item -> the file that it is about
    memory: int = 2048 * MIB  # bytes a worker may use
    gpus: int = 0  # 0 or 1: that a job has to itself, all its ranks together
    interprets: bool = False  # where a machine has no GPU, Triton's interpreter runs kernels instead
    hours: float = 0.0  # that the statement tells students to plan; 0 where nobody has said

    @property
    def checks_public(self) -> Path:
        return self.source / "checks" / f"part{self.number}_public.py"

    @property
    def checks_hidden(self) -> Path:
        return self.source / "checks" / f"part{self.number}_hidden.py"

    @property
    def driver(self) -> Path:
        return self.source / "checks" / f"part{self.number}_driver.py"


@dataclass(frozen=True)
class Assignment:
    """A homework: its weight in the final grade, its deadline, and its parts by number."""

    name: str
    title: str
    weight: float
    deadline: datetime | None
    source: Path
    parts: dict[int, Part]

    def part(self, number: int) -> Part:
        """Return one part; raises CourseError with the parts there are."""
        if number not in self.parts:
            there = ", ".join(map(str, self.parts)) or "none yet"
            raise CourseError(f"{self.name} has no part {number}; parts in course.toml: {there}")
        return self.parts[number]

    def part_of_notebook(self, notebook: str) -> Part | None:
        """Return the part whose notebook has this name (no ending), or None."""
        return next((part for part in self.parts.values() if part.notebook == notebook), None)


@dataclass(frozen=True)
class Course:
    """A course root: the folder with `course.toml`, an ordinary nbgrader course besides."""

    root: Path
    name: str
    thresholds: dict[str, float]
    late: dict[str, float]
    assignments: dict[str, Assignment]
    hand_in: str = ""  # a sentence for students: where
    slurm: Slurm = field(default_factory=Slurm)

    @classmethod
    def load(cls, root: Path | str) -> Course:
        """Read `root/course.toml`; raises CourseError for what is missing, malformed, unknown or a student's."""
        root = Path(root).resolve()
        refuse_strangers(root)
        path, text = root / "course.toml", ""
        try:
            text = read_text(path)
            return _course(root, parse(text))
        except FileNotFoundError:
            raise CourseError(f"{path}: not found; run from the course, or name it with --course") from None
        except OSError as error:
            raise CourseError(f"{path}: cannot be read ({error.strerror})") from None
        except Wrong as wrong:
            raise CourseError(f"{path}: {place(text, wrong)}") from None

    @classmethod
    def find(cls, start: Path | str | None = None) -> Course:
        """Load the nearest course: `start`, its `assignments/`, then the same in each parent folder.

        Among the files of students it is the course that they were handed in to, whatever lies nearer.
        """
        start = Path(start or Path.cwd()).resolve()
        for folder in (start, *start.parents):
            for root in (folder, folder / "assignments"):
                if (root / "course.toml").is_file() and course_around(root) is None:
                    return cls.load(root)
        raise CourseError(f"{start}: no course.toml here or above; run inside the course repository")

    def assignment(self, name: str) -> Assignment:
        """Return one assignment; raises CourseError with the names there are."""
        if name not in self.assignments:
            there = ", ".join(self.assignments) or "none"
            raise CourseError(f"{name} is not an assignment of {self.name}; course.toml has: {there}")
        return self.assignments[name]


def _course(root: Path, data: Table) -> Course:
    data.only("course", "grades", "late", "assignments", "slurm")
    course = data.table("course", needed=True).only("name", "hand_in")
    return Course(
        root=root,
        name=course.text("name"),
        thresholds=_thresholds(data.table("grades").only("thresholds").table("thresholds")),
        late=_late(data.table("late").only("penalty_per_day", "max_days", "grace_minutes")),
        assignments={
            name: _assignment(root, name, entry) for name, entry in data.table("assignments").tables().items()
        },
        hand_in=course.text("hand_in", ""),
        slurm=_slurm(data.table("slurm")),
    )


def _slurm(table: Table) -> Slurm:
    sizes = {"memory": _size(table, "memory")} if "memory" in table.values else {}
    return slurm_settings.read(table, sizes)


def _size(table: Table, key: str) -> int:
    try:
        return parse_size(table.text(key))
    except ValueError as error:
        raise table.wrong(key, str(error)) from None


def _thresholds(table: Table) -> dict[str, float]:
    thresholds: dict[str, float] = {}
    for grade, bound in table.shares().items():
        if same := [other for other in thresholds if thresholds[other] == bound]:
            raise table.wrong(grade, f"so is {same[0]}, and one of them can never be reached")
        thresholds[grade] = bound
    return thresholds


def _late(table: Table) -> dict[str, float]:
    return {key: table.number(key, 0, 1 if key == "penalty_per_day" else math.inf) for key in table.values}


# What nbgrader, a file system or a web page takes for something else than a part of a name.
_NO_NAME = re.compile(r"[/\\+*?\[\]\x00-\x1f]|^[.\s]|\s$|^$")


def _assignment(root: Path, name: str, entry: Table) -> Assignment:
    if odd := _NO_NAME.search(name):
        raise Wrong(entry.path, f"the assignment {name!r} cannot have {odd[0]!r} in its name; rename it")
    entry.only("title", "weight", "deadline", "parts")
    # The repository that students clone holds released copies only; a student's own copy is its own root.
    places = root / "source" / name, root / "release" / name, root
    source = next(place for place in places if place.is_dir())
    parts = {}
    for number, part in entry.table("parts").tables().items():
        if not re.fullmatch(r"[1-9][0-9]{0,3}", number):
            raise Wrong(part.path, f"{'.'.join(part.path)}: a part is called by a number, such as 1")
        parts[int(number)] = _part(name, int(number), source, part)
    weight = float(entry.number("weight", 0, 1)) if "weight" in entry.values else 0.0
    return Assignment(name, entry.text("title", name), weight, entry.moment("deadline"), source, parts)


def _part(assignment: str, number: int, source: Path, entry: Table) -> Part:
    entry.only("title", "notebook", "files", "items", "reports", "extras", "modules", "machine", "hours")
    items, reports = entry.table("items").points(), entry.table("reports").points()
    if twice := items.keys() & reports.keys():
        raise Wrong((*entry.path, "reports"), f"{sorted(twice)} stand in items and in reports")
    extras = frozenset(entry.texts("extras"))
    if unknown := extras - items.keys() - reports.keys():
        raise entry.wrong("extras", f"{sorted(unknown)} are no items or reports")
    notebook, files = entry.text("notebook"), entry.texts("files")
    if "/" in notebook or notebook.endswith((".ipynb", ".md")):
        raise entry.wrong("notebook", "write the name without its ending, and without a folder")
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise entry.wrong("files", f"{name!r} lies outside of the assignment's folder")
    table = entry.table("modules")
    modules = {item: table.text(item) for item in table.values}
    for item, name in modules.items():
        if item not in items or name not in files:
            raise Wrong((*table.path, item), f"modules say {item} = {name!r}; name an item and a file")
    machine = entry.table("machine").only("memory", "gpus", "without_gpu")
    memory = _size(machine, "memory") if "memory" in machine.values else 2048 * MIB
    gpus = machine.whole("gpus", most=_MOST_GPUS, why="a submission gets one GPU, alone")
    without = machine.text("without_gpu", "")
    if without not in ("", "interpreter") or (without and not gpus):
        raise machine.wrong("without_gpu", 'it is "interpreter", beside gpus = 1, or not there')
    return Part(
        assignment=assignment,
        number=number,
        title=entry.text("title", f"Part {number}"),
        source=source,
        notebook=notebook,
        files=files,
        items=items,
        reports=reports,
        extras=extras,
        modules=modules,
        memory=memory,
        gpus=gpus,
        interprets=bool(without),
        hours=float(entry.number("hours")) if "hours" in entry.values else 0.0,
    )
