"""What nbgrader's own commands and formgrader's buttons run in this course.

`configure` is called by the course's nbgrader_config.py. It puts the rebuilding of notebooks in place of
nbgrader's sanitizing, the examiner in place of its `Execute`, strips modules on release, and lets nothing that a
student wrote reach a browser unsanitized.
"""

from __future__ import annotations

import atexit
import builtins
import logging
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbconvert.exporters import NotebookExporter
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader import preprocessors as stock
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import is_grade
from traitlets import Unicode
from traitlets.config import Config

from grader.book.late import CourseLatePenalty
from grader.book.nbgrader_course import NbCourse, find_alembic, part_of
from grader.book.points import automatic_points
from grader.book.records import keep_report
from grader.book.results import follow_deadline
from grader.book.settings import cell_seconds, hidden_marks, refuse_other_languages
from grader.book.student_view import StudentView
from grader.book.table import CsvTable
from grader.course import Course, CourseError, Part
from grader.lean import nbformat
from grader.notebooks import PROGRAMS
from grader.notebooks.judge import judge, kernel_of, load_template
from grader.notebooks.rebuild import rebuild_apart
from grader.notebooks.source import NO_ANSWER, build_assignment, is_stale, may_be_stale, strip_solutions
from grader.notebooks.template import without
from grader.safe.files import defuse
from grader.safe.nbconvert import configure as show_clean_html
from grader.text import plain
from grader.tree import TRIALS, walk

if TYPE_CHECKING:
    from grader.examine.examiner import Examiner
    from grader.notebooks.limits import Seconds
    from grader.notebooks.run import Prepared

log = logging.getLogger(__name__)

_POINTS = re.compile(r"\d{1,4}(\.\d{1,4})?")
IGNORED = [
    ".ipynb_checkpoints",
    "*.pyc",
    "__pycache__",
    "feedback",
    ".git",
    *TRIALS,
    "*_hidden.py",
    "*_hidden.toml",
]


def configure(config: Config, root: Path) -> None:
    """Set up nbgrader for the course at `root`, and bring its instructor notebooks up to date."""
    find_alembic()
    course = Course.load(root)
    assignments = course.assignments.values()
    parts = [part for assignment in assignments for part in assignment.parts.values()]
    config.CourseDirectory.root = str(course.root)
    config.CourseDirectory.course_id = course.name
    config.CourseDirectory.ignore = IGNORED + sorted({f"{part.notebook}.md" for part in parts})
    config.ClearSolutions.text_stub = NO_ANSWER
    # Dates can deceive, and what is released must be what the text says.
    config.GenerateAssignment.pre_convert_hook = _build_all(course, by_date=False)
    config.GenerateAssignment.preprocessors = [
        stock.IncludeHeaderFooter,
        stock.LockCells,
        stock.ClearSolutions,
        stock.ClearOutput,
        stock.CheckCellMetadata,
        stock.ComputeChecksums,
        stock.SaveCells,
        stock.ClearHiddenTests,
        stock.ClearMarkScheme,
        stock.ComputeChecksums,
        stock.CheckCellMetadata,
        PrepareRelease,
    ]
    config.Autograde.exporter_class = SubmissionExporter
    config.Autograde.pre_convert_hook = drop_special_files
    config.Autograde.post_convert_hook = _defuse_graded(course.root)
    config.Autograde.exclude_overwriting = {
        assignment.name: sorted({name for part in assignment.parts.values() for name in part.files})
        for assignment in assignments
    }
    config.Autograde.sanitize_preprocessors = [Rebuild, stock.CheckCellMetadata]
    config.Autograde.autograde_preprocessors = [
        Examine,
        stock.IgnorePattern,
        stock.LimitOutput,
        SaveGrades,
        LeaveToAPerson,
        stock.AssignLatePenalties,
        stock.CheckCellMetadata,
    ]
    config.AssignLatePenalties.plugin_class = CourseLatePenalty
    config.GenerateFeedback.preprocessors = feedback_preprocessors()
    config.ExportApp.plugin_class = CsvTable
    show_clean_html(config)
    _build_all(course, by_date=True)()


def _build_all(course: Course, *, by_date: bool) -> Any:
    def build(**_: Any) -> None:
        """Rebuild the instructor notebooks whose Markdown has changed; one that is wrong stops no other."""
        for assignment in course.assignments.values():
            parts, file = assignment.parts.values(), course.root / "course.toml"
            if not by_date or any(may_be_stale(part, file) for part in parts):
                try:
                    build_assignment(assignment)
                except CourseError as error:
                    print(f"grader: {error}", file=sys.stderr)

    return build


def _defuse_graded(root: Path) -> Any:
    def defuse_each(*, notebooks: list[str], **_: Any) -> None:
        """Let nothing that a browser would run lie beside the graded notebooks."""
        for submitted in {Path(notebook).parent for notebook in notebooks}:
            student, assignment = submitted.parent.name, submitted.name
            folder = root / "autograded" / student / assignment
            for note in defuse(folder, root / "source" / assignment):
                log.warning("%s: %s", student, note)

    return defuse_each


def drop_special_files(*, notebooks: list[str], **_: Any) -> None:
    """Delete links and devices from a submitted folder, before nbgrader copies what they lead to."""
    for folder in {Path(notebook).parent for notebook in notebooks}:
        for current, folders, files in walk(folder):
            for path in (Path(current, name) for name in [*folders, *files]):
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    log.warning("%s: a link or a special file, deleted", plain(str(path), 200))
                    path.unlink()


class _InConverter(NbGraderPreprocessor):
    """A preprocessor that knows the course and the submission that its converter is at."""

    @property
    def folders(self) -> CourseDirectory:
        exporter: Any = self.parent
        return exporter.parent.coursedir

    def course(self) -> Course | None:
        """Return the course data, None for a course without course.toml."""
        root = Path(self.folders.root)
        return Course.load(root) if (root / "course.toml").is_file() else None

    def where(self, step: str, resources: Any) -> Path:
        """Return the folder of this submission at `step`."""
        directory = getattr(self.folders, f"{step}_directory")
        names = resources["nbgrader"]
        return Path(self.folders.format_path(directory, names["student"], names["assignment"]))

    def part(self, resources: Any) -> Part | None:
        """Return the part that this notebook is, None for a plain nbgrader notebook."""
        return part_of(self.course(), resources["nbgrader"]["assignment"], resources["nbgrader"]["notebook"])

    def nb_course(self) -> NbCourse:
        return NbCourse(Path(self.folders.root), self.config, self.folders, self.course())


# --- release ------------------------------------------------------------------------------------------------


class PrepareRelease(_InConverter):
    """Takes the solutions out of the released modules and tells the gradebook the deadline."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        names, part = resources["nbgrader"], self.part(resources)
        if part is not None and is_stale(part):
            raise CourseError(
                f"{part.source / part.notebook}.md: the notebook made from it is out of date; "
                "correct what the messages above name"
            )
        folder = Path(self.folders.format_path(self.folders.release_directory, ".", names["assignment"]))
        for path in folder.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            stub = strip_solutions(text, str(path))
            if stub != text:
                path.write_text(stub, encoding="utf-8")
        with Gradebook(names["db_url"], self.folders.course_id) as gradebook:
            follow_deadline(gradebook, self.nb_course(), names["assignment"])
        return nb, resources


# --- autograde ----------------------------------------------------------------------------------------------


class SubmissionExporter(NotebookExporter):
    """Opens a submission for `Rebuild`, which reads it itself: no parser of nbgrader's meets a stranger's file."""

    def from_filename(self, filename: str, resources: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        if not getattr(self.parent, "_sanitizing", False):
            return super().from_filename(filename, resources=resources, **kwargs)
        resources = {**(resources or {}), "submission": filename}
        return self.from_notebook_node(nbformat.v4.new_notebook(), resources=resources)


class Rebuild(_InConverter):
    """Gives the course's own notebook with the answers of the submitted one; see `grader.notebooks.rebuild`."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        names, course = resources["nbgrader"], self.nb_course()
        source = course.path("source", ".", names["assignment"])
        with Gradebook(names["db_url"], self.folders.course_id) as gradebook:
            follow_deadline(gradebook, course, names["assignment"])
            template = load_template(
                gradebook,
                names["assignment"],
                names["notebook"],
                source / f"{names['notebook']}.ipynb",
                judges_files=self.part(resources) is not None,
                **course.marks,
            )
        notebook, notes = rebuild_apart(template, Path(resources["submission"]))
        for note in notes:
            self.log.warning("%s: %s", names["student"], note)
        return notebook, resources


class Examine(_InConverter):
    """Takes the place of `Execute`: the examiner's verdicts become the outputs of the check cells."""

    isolation = Unicode("namespaces", help="namespaces, or plain for a machine that has none").tag(
        config=True
    )
    memory = Unicode(
        "", help="of each worker of a plain notebook, such as 6GiB; empty: from what the reference needs"
    ).tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        names, part = resources["nbgrader"], self.part(resources)
        folder = self.where("submitted" if part else "autograded", resources)
        wall = cell_seconds(self.config)
        examiner = _examiner(self.isolation)
        prepared = self._prepared(resources, examiner, wall) if part is None else None
        report, unsettled, notes = judge(nb, part, folder, examiner, wall, prepared=prepared)
        for note in notes:
            self.log.warning("%s: %s", names["student"], note)
        if report is not None:
            course = self.course()
            assert course is not None  # only parts of a course have reports
            keep_report(course.root, names["assignment"], names["student"], names["notebook"], report)
        names["for_a_person"] = unsettled
        return nb, resources

    def _prepared(self, resources: Any, examiner: Examiner, wall: Seconds) -> Prepared:
        """Return where the cells of this plain notebook run, decided now where its release did not."""
        from grader.book.modes import prepared_notebook

        names, course = resources["nbgrader"], self.nb_course()
        source = course.path("source", ".", names["assignment"]) / f"{names['notebook']}.ipynb"
        with Gradebook(names["db_url"], self.folders.course_id) as gradebook:
            template = load_template(
                gradebook, names["assignment"], names["notebook"], source, judges_files=False, **course.marks
            )
        refuse_other_languages(self.config, names["assignment"], {template.name: kernel_of(template, source)})
        return prepared_notebook(
            course, names["assignment"], template, lambda: examiner.place, wall, say=self.log.warning
        )


class SaveGrades(stock.SaveAutoGrades):
    """nbgrader's own, for which a test that shows no number of its points does not end the whole submission."""

    def _add_score(self, cell: Any, resources: Any) -> None:
        _, wrong = automatic_points(cell, self.log)
        if not wrong:
            return super()._add_score(cell, resources)
        names, identity = resources["nbgrader"], cell.metadata.nbgrader["grade_id"]
        self.log.warning("%s: %s %s; give its points by hand", names["student"], identity, wrong)
        place = names["notebook"], names["assignment"], names["student"]
        grade: Any = self.gradebook.find_grade(identity, *place)
        grade.auto_score, grade.needs_manual_grade = None, True
        self.gradebook.db.commit()


class LeaveToAPerson(_InConverter):
    """Marks what no check could settle, so that formgrader lists it for grading by hand."""

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        names = resources["nbgrader"]
        with Gradebook(names["db_url"], self.folders.course_id) as gradebook:
            for name in names.get("for_a_person", ()):
                place = names["notebook"], names["assignment"], names["student"]
                grade: Any = gradebook.find_grade(name, *place)
                grade.needs_manual_grade = True
            gradebook.db.commit()
        return nb, resources


_examiners: dict[str, Examiner] = {}


def _examiner(isolation: str) -> Examiner:
    """Return this process's examiner: a zygote costs seconds, and a class has hundreds of submissions."""
    from grader.examine.examiner import Examiner  # imports torch, which no other nbgrader command needs

    if isolation not in _examiners:
        _examiners[isolation] = Examiner(isolation, programs=PROGRAMS)
        atexit.register(_examiners[isolation].close)
    return _examiners[isolation]


# --- feedback -----------------------------------------------------------------------------------------------


def feedback_preprocessors() -> list[type]:
    """Return what makes a graded notebook into feedback, in order; in a course made elsewhere too."""
    return [stock.GetGrades, HideHiddenTests, StudentView, CSSHTMLHeaderPreprocessor]


class HideHiddenTests(NbGraderPreprocessor):
    """Takes the hidden tests of a plain notebook out of its feedback: their text, and what was said about them.

    Hidden tests call a student's function, which can print its inputs at once or keep them for a later cell. So
    from the first cell with hidden tests on, feedback shows which cells failed and the points of tests, no more.
    """

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        hidden_before, marks = False, hidden_marks(self.config)
        for cell in nb.cells:
            released = without(cell.source, marks)
            hidden_before = hidden_before or released != cell.source
            cell.source = released
            if hidden_before and cell.get("outputs"):
                cell.outputs = _without_words(cell)
        return nb, resources


def _without_words(cell: Any) -> list[Any]:
    """Return of the outputs of a cell that it failed, the number of points, and that there was more."""
    kept, more = [], False
    for output in cell.outputs:
        text = output.get("data", {}).get("text/plain", "")
        if output.output_type == "error":
            # A student can name an exception after an input.
            known = isinstance(vars(builtins).get(output.ename), type)
            name = output.ename if known else "Exception"
            told = [f"{name} in this cell; what it says is not shown, hidden tests have run"]
            kept.append(nbformat.v4.new_output("error", ename=name, evalue="", traceback=told))
        elif output.output_type == "execute_result" and is_grade(cell) and _POINTS.fullmatch(text):
            kept.append(nbformat.v4.new_output("execute_result", {"text/plain": text}))
        else:
            more = True
    if more:
        told = "This cell printed or showed something; it is not shown here, hidden tests have run.\n"
        kept.insert(0, nbformat.v4.new_output("stream", text=told))
    return kept
