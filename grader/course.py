"""What `course.toml` says: assignments, parts, points, deadlines and thresholds, as typed values."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

MIB = 1 << 20
_UNITS = {"KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30}


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
    renamed = {name for name in map(str, _RENAMED.findall(text)) if not Path(name).is_absolute()}
    return {*_STRANGERS, *(Path(name).parts[0] for name in renamed)}


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
    gpus: int = 0  # that a worker needs

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
    late: dict[str, Any]
    assignments: dict[str, Assignment]
    hand_in: str = ""  # a sentence for students: where

    @classmethod
    def load(cls, root: Path | str) -> Course:
        """Read `root/course.toml`; raises CourseError for what is missing, malformed or a student's."""
        root = Path(root).resolve()
        refuse_strangers(root)
        path = root / "course.toml"
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CourseError(f"{path}: not found; run from the course, or name it with --course") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CourseError(f"{path}: not valid TOML: {error}") from None
        try:
            return cls(
                root=root,
                name=data["course"]["name"],
                thresholds=dict(data.get("grades", {}).get("thresholds", {})),
                late=dict(data.get("late", {})),
                assignments={
                    name: _assignment(root, name, entry)
                    for name, entry in data.get("assignments", {}).items()
                },
                hand_in=str(data["course"].get("hand_in", "")),
            )
        except KeyError as error:
            raise CourseError(f"{path}: the key {error} is missing") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise CourseError(f"{path}: {error}") from None

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


def _assignment(root: Path, name: str, entry: dict[str, Any]) -> Assignment:
    # The repository that students clone holds released copies only; a student's own copy is its own root.
    places = root / "source" / name, root / "release" / name, root
    source = next(place for place in places if place.is_dir())
    parts = {
        int(number): _part(name, int(number), source, part) for number, part in entry.get("parts", {}).items()
    }
    weight = float(entry.get("weight", 0.0))
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of {name} is {weight}; it must lie between 0 and 1")
    return Assignment(name, entry.get("title", name), weight, entry.get("deadline"), source, parts)


def _part(assignment: str, number: int, source: Path, entry: dict[str, Any]) -> Part:
    items = {key: float(value) for key, value in entry.get("items", {}).items()}
    reports = {key: float(value) for key, value in entry.get("reports", {}).items()}
    extras = frozenset(entry.get("extras", []))
    for key, value in {**items, **reports}.items():
        if value <= 0:
            raise ValueError(
                f"{assignment} part {number}: {key} is worth {value} points; give it more than 0"
            )
    if twice := items.keys() & reports.keys():
        raise ValueError(f"{assignment} part {number}: {sorted(twice)} stand in items and in reports")
    if unknown := extras - items.keys() - reports.keys():
        raise ValueError(f"{assignment} part {number}: extras {sorted(unknown)} are no items or reports")
    modules = dict(entry.get("modules", {}))
    for item, name in modules.items():
        if item not in items or name not in entry.get("files", []):
            raise ValueError(
                f"{assignment} part {number}: modules say {item} = {name!r}; name an item and a file"
            )
    machine = entry.get("machine", {})
    return Part(
        assignment=assignment,
        number=number,
        title=entry.get("title", f"Part {number}"),
        source=source,
        notebook=entry["notebook"],
        files=tuple(entry.get("files", [])),
        items=items,
        reports=reports,
        extras=extras,
        modules=modules,
        memory=parse_size(machine.get("memory", "2GiB")),
        gpus=int(machine.get("gpus", 0)),
    )
