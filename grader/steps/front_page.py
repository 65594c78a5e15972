"""What a student reads first in the repository that they clone: its README, HAND-IN.md, and the Makefile."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

from grader.course import Assignment, Course, Part
from grader.tree import MAX_BYTES, MAX_FILES

# What `grader check` does where there is no GPU; True where the course says that kernels are interpreted.
_WITHOUT = {
    False: "`grader check` needs one, too.",
    True: "Without one, `grader check` runs your kernels in Triton's interpreter, which says whether their numbers "
    "are right; their speed is then not measured, and has no points yet.",
}


def write(course: Course, released: list[str], target: Path, makefile: Path) -> None:
    """Write the three to `target`; of the Makefile, the targets that work without the sources."""
    if makefile.is_file():
        text = makefile.read_text(encoding="utf-8").partition("# --- needs the sources")[0]
        (target / "Makefile").write_text(text.replace("clean demo test", "clean"), encoding="utf-8")
    assignments = [course.assignments[name] for name in released]
    labs = any(target.glob("week*/*.ipynb"))
    (target / "README.md").write_text(readme(course, assignments, labs), encoding="utf-8")
    (target / "HAND-IN.md").write_text(hand_in(course, assignments), encoding="utf-8")


def readme(course: Course, assignments: list[Assignment], labs: bool) -> str:
    """Return the first page: how to install, and the commands of each assignment as they work when printed."""
    first = "; start with week01_intro/lecture.ipynb" if labs else ""
    lines = [
        f"# {course.name}",
        "",
        f"{'The labs of the course, and its' if labs else 'The'} assignments as they are released. You need Linux, "
        "macOS or WSL2 on",
        "Windows, Python 3.11 or newer, git and make.",
        "",
        "```",
        "make .venv/installed    # once: a few minutes, 2 to 3 GB",
        f"make lab                # Jupyter, in a terminal of its own{first}",
        "```",
    ]
    if labs:
        lines += [
            "",
            "Each week's README says what its lab answers and how to run it without Jupyter, on a GPU server or "
            "hosted.",
        ]
    for assignment in assignments:
        name = assignment.name
        lines += [
            "",
            f"## {assignment.title}: `{name}`{_due(assignment)}",
            "",
            "```",
            f".venv/bin/grader start {name}         # your own copy, in ./{name}",
            f".venv/bin/grader check --in {name}    # the checks that grade you, less the hidden ones",
            f".venv/bin/grader pack --in {name}     # is it complete? then the zip that you hand in",
            "```",
        ]
    lines += ["", "What to hand in, where, until when, and what may be imported: [HAND-IN.md](HAND-IN.md)."]
    return "\n".join(lines) + "\n"


def hand_in(course: Course, assignments: list[Assignment]) -> str:
    """Return the page on handing in: what, where, deadline, late policy, extras, what may be imported."""
    where = course.hand_in or "Hand the zip in where your course told you to."
    lines = [
        "# Handing in",
        "",
        "`.venv/bin/grader pack --in COPY` looks whether your copy is complete, and writes one zip. " + where,
        f"A submission may have {MAX_FILES} files and {MAX_BYTES >> 20} MiB, notebooks aside.",
        "",
        _late(course),
    ]
    for assignment in assignments:
        lines += ["", f"## {assignment.title}: `{assignment.name}`{_due(assignment)}", ""]
        lines += [
            "| part | notebook, with your answers | modules | points | extras |",
            "|---|---|---|---|---|",
        ]
        lines += [_row(part) for part in assignment.parts.values()]
        memory = ", ".join(f"{part.memory >> 20} MiB" for part in assignment.parts.values())
        lines += ["", f"Memory while a check runs, part by part: {memory}, all of its processes together."]
        for part in assignment.parts.values():
            if part.gpus:
                lines += ["", f"Part {part.number} is graded on a GPU. {_WITHOUT[part.interprets]}"]
        if any(part.extras for part in assignment.parts.values()):
            lines += [
                "Extras count on top: without them all points are within reach, with them more than all."
            ]
    lines += [
        "",
        "## What your modules may import",
        "",
        "The standard library, whatever `requirements.txt` installs (and a `requirements-weekNN.txt` that the",
        "statement names), and modules of your own that lie beside the notebook. Not the folders of this repository",
        "(`week...`, `effdl`, `grader`): they are not there where your work is graded, and `grader check` refuses",
        "them. Code of the labs may be copied into your file, with a comment that names where it is from. There is",
        "no network but between the ranks of a check, and no file but yours.",
        "",
        "## What counts",
        "",
        "Your modules are run, in a sandbox, by the checks that you have and by hidden ones that ask the same on",
        "other inputs. Of your notebook, the answers are read, with the pictures under them; other outputs count for",
        "nothing, and changed check cells change nothing.",
        "",
        "Where your course keeps a leaderboard of speed, you take part by a file `leaderboard.txt` beside the",
        "notebook, with a name for yourself in its first line: 2 to 24 letters, digits, spaces, `-` and `_`. Your",
        "own name and your id are not shown, and nobody of the lower half is. It changes no points.",
    ]
    return "\n".join(lines) + "\n"


def _due(assignment: Assignment) -> str:
    due = assignment.deadline
    return f", due {due.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if due else ""


def _row(part: Part) -> str:
    worth = {**part.items, **part.reports}
    full = sum(points for name, points in worth.items() if name not in part.extras)
    extras = ", ".join(f"`{name}` {worth[name]:g}" for name in worth if name in part.extras) or "none"
    files = ", ".join(f"`{name}`" for name in part.files)
    return f"| {part.number} | `{part.notebook}.ipynb` | {files} | {full:g} | {extras} |"


def _late(course: Course) -> str:
    late = course.late
    if not late:
        return "Being late costs nothing."
    share, days = late.get("penalty_per_day", 0), late.get("max_days")
    grace = late.get("grace_minutes", 0)
    text = f"Each day begun after the deadline costs {100 * share:g} % of the points"
    text += f", from {grace} minutes on" if grace else ""
    return text + (f"; after {days} days a submission counts for nothing." if days is not None else ".")
