"""One page on a graded class, for the instructor: scores, checks, time, what waits for a person, what to look at."""

from __future__ import annotations

import io
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grader.course import CourseError
from grader.examine.report import UNSETTLED
from grader.pages.failures import CheckCount, check_counts, ways_of_failing
from grader.whole_files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from grader.book.results import Graded

SHOWN_CHECKS = 20  # in the plot of checks: those that fail most
FORMGRADER = "http://localhost:8888/formgrader"

# What a note is about, by its words; the first that fits. `grader.notebooks` and the examiner write the notes.
_FORGED = re.compile(r"can be forged|points isolated$")
_KINDS = {
    "Code about the grading itself": r"line \d+ is about ",
    "Cells and metadata changed beyond the answers": r"was edited|came back (tagged|with|as)|cells are called",
    "Files that replace, configure or run": (
        r"named like the module|would run|configures|\blinks?\b|special file|regular file|its name is not"
    ),
    "Stopped by a limit, or more than usual": (
        r"memory (limit|allowed)|of memory|printed \d+ MiB|not finish|longer than|did not answer|killed|only the"
    ),
    "Reached for the network": r"to reach a network",
    "Answers that were none": r"what is no answer|something else than it was asked",
}
OTHER = "Other notes"


@dataclass(frozen=True)
class Case:
    """What about one student a person should look at."""

    student: str
    what: list[str]
    link: str = ""


def kind_of(note: str) -> str:
    """Return under which heading a note stands."""
    return next((kind for kind, words in _KINDS.items() if re.search(words, note)), OTHER)


def summary(
    course_root: Path | str,
    assignment: str,
    *,
    formgrader: str = FORMGRADER,
    past: Sequence[Path] = (),
) -> Path:
    """Write the page on `assignment` and return its path, `.grader/<assignment>/summary.html` of the course.

    `formgrader` is where links to submissions lead, `past` are course roots of earlier years. Runs nothing, and
    leaves a page that says the same as it is. Raises CourseError where nothing was submitted, or a past year has no
    records.
    """
    from grader.book.keys import digest_of, environment_digest
    from grader.book.nbgrader_course import NbCourse
    from grader.book.records import of_a_past_year, results_folder
    from grader.book.results import absent_students, class_results

    course = NbCourse.open(course_root)
    results = class_results(course_root, assignment)
    if not results:
        raise CourseError(f"no submission of {assignment} in {course.root}; run grader collect first")
    links = _links(course, assignment, formgrader.rstrip("/"))
    absent = absent_students(course_root, results)
    earlier = [record for root in past for record in of_a_past_year(root, assignment)]
    path = results_folder(course.root, assignment) / "summary.html"
    told = map(repr, (results, links, absent, earlier, formgrader))
    mark = f"\n<!-- {digest_of(*told, environment_digest())} -->\n"
    if _ends_with(path, mark):
        return path
    # Only now what draws plots and fills templates: a second that nobody need wait for where nothing is new.
    from jinja2 import Environment, FileSystemLoader

    graded = [result for result in results if not result.error]
    checks, notes = check_counts(graded), notes_by_kind(graded, links)
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
    page = environment.get_template("summary.html.j2").render(
        assignment=assignment,
        written=f"{datetime.now():%Y-%m-%d %H:%M}",
        results=results,
        graded=graded,
        median=statistics.median(result.score for result in graded) if graded else 0,
        best=max((result.max_score for result in graded), default=0),
        figures=_figures(graded, checks),
        checks=checks,
        ways=ways_of_failing(graded, links, earlier),
        earlier=len(earlier),
        absent=absent,
        undecided=undecided_cases(graded, links),
        unread=unread_cells(graded),
        list_link=f"{formgrader.rstrip('/')}/gradebook/{assignment}",
        notes=notes,
        noted=len({case.student for cases in notes.values() for case in cases}),
        forgeable=forgeable_points(graded, checks),
        failed=[result for result in results if result.error],
        happened=lambda result: replace(result, notes=_remarkable(result)).summary(),
    )
    write_whole(path, page.rstrip() + mark)
    return path


def _ends_with(path: Path, text: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(text)))
        return file.read() == text.encode()


def _links(course: Any, assignment: str, formgrader: str) -> dict[tuple[str, str], str]:
    """Return formgrader's page of each submitted notebook, by student and notebook."""
    from nbgrader import api

    gradebook = course.gradebook()
    try:
        rows = (
            gradebook.db.query(
                api.SubmittedAssignment.student_id, api.Notebook.name, api.SubmittedNotebook.id
            )
            .select_from(api.SubmittedNotebook)
            .join(api.SubmittedAssignment, api.SubmittedNotebook.assignment_id == api.SubmittedAssignment.id)
            .join(api.Assignment, api.SubmittedAssignment.assignment_id == api.Assignment.id)
            .join(api.Notebook, api.SubmittedNotebook.notebook_id == api.Notebook.id)
            .filter(api.Assignment.name == assignment)
        )
        return {(student, name): f"{formgrader}/submissions/{id_}/" for student, name, id_ in rows}
    finally:
        gradebook.close()


def undecided_cases(graded: Sequence[Graded], links: dict[tuple[str, str], str]) -> list[Case]:
    """Return the checks that came to no verdict, as long as nobody has settled them in formgrader."""
    cases = []
    for result in graded:
        for notebook, report in result.reports.items():
            for check in report.checks:
                cell = result.cells.get((notebook, check.item))
                waits = cell is None or cell.needs_manual_grade
                if check.verdict in UNSETTLED and waits:
                    what = f"{check.item}, {check.name}: {check.why}"
                    cases.append(Case(result.shown, [what], links.get((result.student, notebook), "")))
    return cases


def unread_cells(graded: Sequence[Graded]) -> list[tuple[str, str, int]]:
    """Return (notebook, cell, submissions) of the answers that only a person can grade, where nobody has yet."""
    waiting = Counter(
        place
        for result in graded
        for place, cell in result.cells.items()
        # What a check of a part could not settle stands among the undecided.
        if cell.needs_manual_grade and not (place[0] in result.reports and place[1] in result.for_a_person)
    )
    return [(notebook, name, count) for (notebook, name), count in sorted(waiting.items())]


def notes_by_kind(graded: Sequence[Graded], links: dict[tuple[str, str], str]) -> dict[str, list[Case]]:
    """Return the notes on submissions under their headings; those on forgeable points stand elsewhere."""
    found: dict[str, list[Case]] = defaultdict(list)
    for result in graded:
        link = next((link for (student, _), link in links.items() if student == result.student), "")
        told = _remarkable(result)
        for report in result.reports.values():
            told += [
                f"{check.item}, {check.name}: {check.why}"
                for check in report.checks
                if check.verdict != "pass" and kind_of(check.why) in list(_KINDS)[3:]
            ]
        by_kind: dict[str, list[str]] = defaultdict(list)
        for note in dict.fromkeys(told):
            by_kind[kind_of(note)].append(note)
        for kind, lines in by_kind.items():
            found[kind].append(Case(result.shown, _at_most(lines), link))
    return {kind: found[kind] for kind in (*_KINDS, OTHER) if found[kind]}


def _remarkable(result: Graded) -> list[str]:
    return [note for note in result.notes if not _FORGED.search(note)]


def _at_most(lines: list[str], limit: int = 5) -> list[str]:
    return lines if len(lines) <= limit else [*lines[: limit - 1], f"and {len(lines) - limit + 1} more"]


def forgeable_points(graded: Sequence[Graded], checks: Sequence[CheckCount]) -> list[str]:
    """Return a sentence for each check or notebook whose points rest on the student's own process."""
    told = [f"{count.name}: {count.forgeable}" for count in checks if count.forgeable]
    said = Counter(note for result in graded for note in result.notes if "can be forged" in note)
    return told + [f"{note} ({count} submissions)" for note, count in said.most_common(20)]


# --- figures ------------------------------------------------------------------------------------------------


def _figures(graded: Sequence[Graded], checks: Sequence[CheckCount]) -> list[tuple[str, str]]:
    """Return (description, SVG) of the plots."""
    if not graded:
        return []
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from effdl import plots

    # Text stays text: it scales with the page, can be found, and is read aloud.
    with plt.rc_context({**plots.STYLE, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figures = [_scores(graded, plt), _times(graded, plt), _outcomes(checks, plt)]
        return [(told, _svg(figure, plt)) for told, figure in figures if figure is not None]


def _svg(figure: Figure, plt: Any) -> str:
    file = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with plt.rc_context({"svg.hashsalt": str(figure.number)}):
        figure.savefig(file, format="svg", metadata=nothing, transparent=True)
    plt.close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]


def _scores(graded: Sequence[Graded], plt: Any) -> tuple[str, Figure]:
    best = max(result.max_score for result in graded) or 1
    scores = [result.score for result in graded]
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 1e3, 1e9) if best / step <= 25)
    edges = [step * (number - 0.5) for number in range(int(best / step) + 3)]
    figure, axes = plt.subplots(figsize=(6.4, 3.0))
    axes.hist(scores, bins=edges, edgecolor="white")
    axes.axvline(statistics.median(scores), linestyle="--", color=plt.rcParams["text.color"], linewidth=1.2)
    axes.set(xlabel="points; the dashed line is the median", ylabel="students", title="Scores")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", visible=False)
    return f"Histogram of {len(scores)} scores, median {statistics.median(scores):g} of {best:g}.", figure


def _outcomes(checks: Sequence[CheckCount], plt: Any) -> tuple[str, Figure | None]:
    from effdl.plots import bar_styles

    shown = [count for count in checks if count.failed + count.undecided][:SHOWN_CHECKS]
    if not shown:
        return "", None
    figure, axes = plt.subplots(figsize=(6.4, 1.2 + 0.28 * len(shown)))
    labels = [_shortened(count.name) for count in shown]
    blue, orange, green = bar_styles(3)
    left = [0] * len(shown)
    parts = {
        "failed": ("no full points", orange),
        "undecided": ("undecided", green),
        "passed": ("passed", blue),
    }
    for part, (label, style) in parts.items():
        widths = [getattr(count, part) for count in shown]
        if any(widths):
            axes.barh(range(len(shown)), widths, left=left, label=label, height=0.7, **style)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(shown)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="students")
    axes.set_title("Checks, the most failed first", x=0)
    axes.legend(
        ncols=3, loc="upper center", bbox_to_anchor=(0.4, -0.6 / (0.28 * len(shown) + 0.5)), fontsize=8
    )
    worst = shown[0]
    return f"How the checks went. Most failed: {worst.name}, {worst.failed} students.", figure


def _times(graded: Sequence[Graded], plt: Any) -> tuple[str, Figure | None]:
    walls = [result.wall for result in graded if result.wall]
    if len(walls) < 2:
        return "", None
    import numpy as np

    figure, axes = plt.subplots(figsize=(6.4, 2.4))
    low, high = min(walls), max(walls)
    axes.hist(walls, bins=np.geomspace(low * 0.95, high * 1.05, min(30, 4 + len(walls))), edgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="seconds of a submission, logarithmic", ylabel="students", title="Wall time")
    median = statistics.median(walls)
    return f"Wall time per submission: median {median:.2g} s, longest {high:.2g} s.", figure


def _shortened(name: str, limit: int = 46) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
