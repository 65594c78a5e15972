"""Runs the submissions of `files/` through collecting, grading and feedback.

An attack's `make(folder, right)` writes what a student hands in: `folder` does not exist yet (its name is the
student's id), `right` holds the files of a right submission by name. With INTO = "submitted" the folder is put
where another tool than ours would have put it, past collecting. FEEDBACK = True has the feedback written and
searched for what runs in a browser. The assignment has a plain notebook (lab.py) and a part that is a module;
stock nbgrader meets the notebook alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

from grader.tests.attacks import lab
from grader.tests.attacks.corpus import Attack, Outcome
from grader.tests.attacks.notebook_runner import (
    changes,
    contents,
    left_behind,
    machine,
    neighbours,
    stock_class,
)
from grader.tests.attacks.watch import Canaries

PART = 4.0  # points of the module
MAX_STORED = 100 << 20  # bytes that one submission may come to in the course
_TOML = """
[course]
name = "Files"
[assignments.hw.parts.1]
notebook = "part1"
files = ["sums.py"]
[assignments.hw.parts.1.items]
total = 4
[assignments.hw.parts.1.modules]
total = "sums.py"
[assignments.hw.parts.1.reports]
essay = 2
"""
_CONFIG = """
from pathlib import Path
from grader.book.nbgrader_plugin import configure
c = get_config()
configure(c, Path(__file__).parent)
c.Execute.timeout = 8
"""
_PART = """# Sums

```python check="total"
check("total")
```

<!-- #region report="essay" -->
<!-- #endregion -->
"""
_SUMS = '''def total(numbers):
    """Return the sum of the numbers."""
    ### BEGIN SOLUTION
    secret = "SOLUTION-CANARY"
    return sum(numbers)
    ### END SOLUTION
'''
_CHECKS = '''from grader.checks import check, expect_equal


@check(item="total", points=2)
def total_{name}(sub):
    """total adds the numbers."""
    secret = "HIDDEN-CANARY"
    expect_equal(sub.call("sums:total", [{numbers}]).result, {sum}, of="the sum")
'''


def run(
    attacks: Sequence[Attack], *, stock: bool = False, progress: Callable[[str], None] = lambda _: None
) -> list[Outcome]:
    """Collect, grade and give feedback on what the attacks hand in; return what each came to.

    With `stock`, only what nbgrader can grade: accidents that are a folder, and of them the notebook.
    """
    with machine() as folder:
        canaries = Canaries()
        if stock:
            lab.build(folder / "course", canaries)
            accidents = [a for a in attacks if a.family == "accident" and "STOCK" not in a.options]
            return list(stock_class(accidents, folder, canaries, _hand_in, progress).values())
        build(folder / "course", canaries)
        return _ours(attacks, folder, canaries, progress)


def build(root: Path, canaries: Canaries) -> None:
    """Write the course to `root` and release its assignment."""
    from grader.steps.release import release

    source = root / "source" / lab.ASSIGNMENT
    (source / "checks").mkdir(parents=True)
    (root / "course.toml").write_text(_TOML)
    (root / "nbgrader_config.py").write_text(_CONFIG)
    (source / "part1.md").write_text(_PART)
    (source / "sums.py").write_text(lab.planted(_SUMS, canaries))
    for name, numbers in (("public", (1, 2)), ("hidden", (3, 4))):
        text = _CHECKS.format(name=f"{name}_one", numbers=f"{numbers[0]}, {numbers[1]}", sum=sum(numbers))
        text = lab.planted(text, canaries) if name == "hidden" else text.replace("HIDDEN-CANARY", "none")
        (source / "checks" / f"part1_{name}.py").write_text(text)
    lab.write_source(root, canaries)
    release(root, lab.ASSIGNMENT)


def right_files(root: Path, canaries: Canaries) -> dict[str, str]:
    """Return the files of a right submission."""
    part = json.loads((root / "release" / lab.ASSIGNMENT / "part1.ipynb").read_text(encoding="utf-8"))
    for cell in part["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "essay":
            cell["source"] = "What I found."
    return {
        "lab.ipynb": json.dumps(lab.answered(root, lab.HONEST)[0]),
        "part1.ipynb": json.dumps(part),
        "sums.py": "def total(numbers):\n    return sum(numbers)\n",
    }


def make(attack: Attack, folder: Path, right: dict[str, str], **names: object) -> None:
    """Let an attack write what it hands in to `folder`; `names` are the global names that it finds besides."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scope: dict[str, object] = {"__file__": str(attack.path), **names}
    exec(compile(attack.path.read_text(encoding="utf-8"), str(attack.path), "exec"), scope)
    scope["make"](folder, dict(right))


def student_of(attack: Attack) -> str:
    """Return the id of the student who an attack is."""
    return attack.options.get("STUDENT", attack.name)


# --- this grader --------------------------------------------------------------------------------------------


def _ours(
    attacks: Sequence[Attack], folder: Path, canaries: Canaries, progress: Callable[[str], None]
) -> list[Outcome]:
    from grader.steps.grade import grade

    root = folder / "course"
    right = right_files(root, canaries)
    harm: dict[str, list[str]] = {attack.name: [] for attack in attacks}
    told: dict[str, list[str]] = {attack.name: [] for attack in attacks}
    before = contents(root, without="submitted")
    outside = precious(folder)
    beside = neighbours(attacks)
    for attack in attacks:
        progress(f"collecting {attack.name}")
        _collect(attack, beside[attack.name], folder, root, right, harm[attack.name], told[attack.name])
    everywhere, results = [], []
    try:
        results = grade(root, lab.ASSIGNMENT, progress=lambda result, *_: progress(result.student))
    except Exception as error:
        everywhere.append(f"the class is not graded: {type(error).__name__}: {error}"[:500])
    graded = {result.student: result for result in results}
    scores = module_scores(root)
    everywhere += changes(before, contents(root, without="submitted")) + left_behind(folder)
    everywhere += changes(outside, precious(folder))
    outcomes = []
    for attack in attacks:
        student, result = student_of(attack), graded.get(student_of(attack))
        found, said = harm[attack.name] + everywhere, told[attack.name]
        if result is not None:
            said += [result.error] * bool(result.error) + result.notes
            for report in result.reports.values():
                said += [f"{check.item}: {check.why}" for check in report.checks if check.why]
            found += [f"trips the grader: {result.error}"] * bool(result.error)
        if (score := scores.get(beside[attack.name], {})) != {"lab": lab.FULL, "part": PART}:
            found.append(f"a neighbour has {score}")
        shown = attack.family == "secrets" or attack.options.get("FEEDBACK")
        page = _feedback(root, student, found) if shown and result and not result.error else ""
        found += _dangers(page) + _unfit_for_a_terminal(said)
        found += _too_much(root, student)
        if (sentence := attack.options.get("SAYS")) and sentence not in " ".join(said):
            found.append(f"nobody is told: {sentence}")
        deserved = attack.options.get("DESERVES", {})
        earned = scores.get(student, {})
        if attack.family == "accident" and any(earned.get(k, 0) < v for k, v in deserved.items()):
            found.append(f"has {earned}, deserves {deserved}")
        outcomes.append(
            Outcome(
                attack,
                sum(earned.values()),
                sum(deserved.values()),
                canaries.find(page),
                found,
                said[0] if said else "",
                said,
            )
        )
    return outcomes


def _collect(
    attack: Attack,
    neighbour: str,
    folder: Path,
    root: Path,
    right: dict[str, str],
    harm: list[str],
    told: list[str],
) -> None:
    from grader.steps.collect import collect

    inbox = folder / "inbox" / attack.name
    for name, text in right.items():
        (inbox / neighbour).mkdir(parents=True, exist_ok=True)
        (inbox / neighbour / name).write_text(text, encoding="utf-8")
    if attack.options.get("INTO") == "submitted":
        make(attack, root / "submitted" / student_of(attack) / lab.ASSIGNMENT, right)
    else:
        make(attack, inbox / student_of(attack), right)
    more = {"names": attack.options["NAMES"]} if "NAMES" in attack.options else {}
    try:
        for result in collect(root, lab.ASSIGNMENT, inbox, **more):
            if result.student != neighbour:
                told += [*([result.refused] if result.refused else ()), *result.notes]
    except Exception as error:
        harm.append(f"collecting stops: {type(error).__name__}: {error}"[:300])


def module_scores(root: Path) -> dict[str, dict[str, float]]:
    """Return what each student has for lab and part, without what only a person can give."""
    from grader.book.nbgrader_course import NbCourse

    gradebook = NbCourse.open(root).gradebook()
    found: dict[str, dict[str, float]] = {}
    try:
        for notebook, what in (("lab", "lab"), ("part1", "part")):
            for submission in gradebook.notebook_submissions(notebook, lab.ASSIGNMENT):
                grades = [g.score or 0 for g in submission.grades if g.cell.name != "essay"]
                found.setdefault(submission.student.id, {})[what] = sum(grades)
    finally:
        gradebook.close()
    return found


def _feedback(root: Path, student: str, harm: list[str]) -> str:
    from grader.steps.feedback import feedback

    try:
        pages = feedback(root, lab.ASSIGNMENT, students=[student])
    except Exception as error:
        harm.append(f"no feedback: {type(error).__name__}: {error}"[:300])
        return ""
    return "".join(page.read_text(encoding="utf-8") for page in pages[student])


class _Dangers(HTMLParser):
    """Collects what would run `pwned` in a browser: scripts, handlers, addresses of scripts, frames."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag if tag in ("script", "style") else ""
        for name, value in attributes:
            value = re.sub(r"[\s\x00-\x20]", "", value or "").lower()
            runs = name.startswith("on") or value.startswith(("javascript:", "vbscript:", "data:text"))
            if "pwned" in value and (runs or tag in ("iframe", "object", "embed", "base", "form", "meta")):
                self.found.append(f"the feedback has {tag} {name}")

    def handle_data(self, data: str) -> None:
        if self.inside and "pwned" in data:
            self.found.append(f"the feedback has a {self.inside}")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def _dangers(page: str) -> list[str]:
    return _Dangers(page).found


def _unfit_for_a_terminal(sentences: Sequence[str]) -> list[str]:
    """Return a sentence where a note could move a cursor, reverse a line or not be written at all."""
    bad = [sentence for sentence in sentences if not sentence.isprintable()]
    return [f"a note is not printable: {ascii(bad[0])[:120]}"] if bad else []


def _too_much(root: Path, student: str) -> list[str]:
    folders = [root / step / student for step in ("autograded", "feedback")]
    size = sum(
        path.lstat().st_blocks * 512 for folder in folders if folder.is_dir() for path in _walk(folder)
    )
    return [f"takes {size >> 20} MiB of the course"] if size > MAX_STORED else []


def _walk(folder: Path) -> list[Path]:
    return [Path(top) / name for top, _, names in os.walk(folder) for name in names]


def precious(folder: Path) -> dict[str, bytes]:
    """Return the files beside the course, which a submission may name but not change."""
    place = folder / "outside"
    if not place.exists():
        place.mkdir()
        (place / "precious.txt").write_text("precious")
    beside = {path.name: b"" for path in folder.iterdir() if path.name != "inbox"}
    return beside | {str(path.relative_to(folder)): path.read_bytes() for path in place.iterdir()}


# --- stock nbgrader -----------------------------------------------------------------------------------------


def _hand_in(attack: Attack, root: Path) -> str:
    right = {"lab.ipynb": json.dumps(lab.answered(root, lab.HONEST)[0]), "part1.ipynb": "{}", "sums.py": ""}
    make(attack, root / "submitted" / student_of(attack) / lab.ASSIGNMENT, right)
    return student_of(attack)
