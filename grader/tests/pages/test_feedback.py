"""What students and graders read in a browser, and the grades that leave the course."""

import csv
import json
import re
import shutil
import time
from html import escape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from grader.bench import against_nbgrader as bench
from grader.book.nbgrader_course import NbCourse
from grader.course import Course, CourseError
from grader.examine.report import CheckResult
from grader.lean import nbformat
from grader.notebooks import verdicts
from grader.notebooks.template import grade_id
from grader.safe import nbconvert
from grader.safe.files import defuse
from grader.safe.html import clean_html, harmless_markdown, render_markdown
from grader.steps.export import export, full_points, grade_of
from grader.steps.feedback import feedback
from grader.steps.grade import grade

HOSTILE = """Fine *text*, $a < b$.

<script>alert('script')</script>
<img src=x onerror="alert('handler')">
<a href="javascript:alert('link')">link</a>
<iframe src="https://evil.example"></iframe>
<img src="https://evil.example/pixel.png">
<svg onload="alert('svg')"></svg>
[again](javascript:alert('markdown'))
"""


class Dangers(HTMLParser):
    """Collects what could run or call home."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "iframe", "object", "embed", "form", "svg", "base", "meta", "link"):
            self.found.append(tag)
        for name, value in attributes:
            # Browsers ignore white space and control characters before and within the scheme.
            address = re.sub(r"[\x00-\x20]", "", value or "").lower()
            # A heading may be called so, and has its text as its id, which nothing follows.
            followed = name != "id" and address.startswith(("javascript:", "vbscript:"))
            if name.startswith("on") or followed:
                self.found.append(f"{tag} {name}")
            if name in ("src", "srcset") and "//" in (value or ""):
                self.found.append(f"{tag} {name}={value}")


def test_the_table_shows_what_was_measured_and_of_hidden_checks_a_number():
    shown = CheckResult(
        "open_name", "ring", 1, 1, "pass", "", [{"name": "bytes", "value": 6.0, "bound": "<= 7"}]
    )
    hidden = CheckResult(
        "secret_name", "ring", 0, 2, "fail", "secret why", hint="secret hint", hidden=True, spec="secret spec",
        yours="secret yours", expected="secret input", measured=[{"name": "secret size", "value": 7}],
    )  # fmt: skip
    outputs = verdicts.outputs([shown, hidden], 3)
    assert "secret" not in json.dumps(outputs)
    assert "Hidden check 1" in outputs[0]["data"]["text/plain"]
    assert "bytes: 6.0 (&lt;= 7)" in outputs[0]["data"]["text/html"]
    assert outputs[1]["data"]["text/plain"] == "1"


@pytest.mark.parametrize(
    ("earned", "score"), [(4.0, 4.0), (0.0, 0.0), (2.5, 2.5), (0.1 + 0.2, 0.3), (1e-3, 1e-3)]
)
def test_nbgrader_reads_the_points_of_the_checks_from_the_outputs(earned, score):
    from nbgrader.utils import determine_grade

    metadata = {
        "nbgrader": {"grade": True, "solution": False, "points": 4.0, "grade_id": "a", "locked": True}
    }
    cell = nbformat.v4.new_code_cell("", metadata=metadata)
    check = CheckResult("name", "a", earned, 4, "pass", "")
    cell.outputs = [nbformat.from_dict(output) for output in verdicts.outputs([check], 4.0)]
    assert determine_grade(cell) == (pytest.approx(score), 4.0)


def test_what_a_submission_says_is_escaped_in_the_table():
    check = CheckResult("n", "i", 0, 1, "fail", "<script>", yours='"><img onerror=x>', expected="&")
    table = verdicts.as_html([check])
    assert "<script>" not in table
    assert "<img" not in table


def test_a_hint_is_folded_and_what_has_nothing_to_say_is_left_out():
    check = CheckResult(
        "n", "i", 0, 1, "fail", "why", hint="Think <again>.", expected="6", output=["rank 0: <b>"]
    )
    (table,) = (output["data"]["text/html"] for output in verdicts.outputs([check], 1)[:1])
    assert "<details><summary><b>Hint</b></summary>Think &lt;again&gt;.</details>" in table
    assert "<details><summary><b>Hint" in clean_html(table)
    assert "Yours" not in table
    assert "<b>Expected:</b> 6" in table
    assert "<b>Printed:</b> rank 0: &lt;b&gt;" in table
    assert "Think" not in verdicts.as_text([check], hints=False)


def test_a_students_notebook_shows_the_public_checks_of_one_item(
    released_course, monkeypatch, capsys, tmp_path
):
    from grader import student

    mine = tmp_path / "mine"
    monkeypatch.setattr(student, "display", lambda data, raw: print(data["text/plain"]))
    shutil.copytree(released_course / "release" / "hw1", mine)
    shutil.copy(released_course / "course.toml", mine)
    (mine / "sums.py").write_text("def total(x):\n    return 7\n")
    monkeypatch.chdir(mine)
    student.check("total")
    shown = capsys.readouterr().out
    assert "✗ failed (0 of 1): total adds the numbers." in shown
    assert "Yours: 7\n    Expected: 6" in shown
    assert "Start at 0" not in shown  # a hint comes on request
    assert "hidden" not in shown
    with pytest.raises(CourseError, match="items: total, spread"):
        student.check("product")


@given(st.text(max_size=60))
def test_no_text_gets_through_the_cleaning_as_something_that_runs(text):
    for candidate in (
        text,
        f"<{text}",
        f"<img {text}>",
        f'<a href="{text}">',
        f"<svg>{text}",
        f"<style>{text}",
    ):
        assert Dangers(clean_html(candidate)).found == []


MENDED = {
    "Fine *text* and <img src=x onerror=alert(1)>.": "Fine *text* and &lt;img src=x onerror=alert(1)>.",
    "<script>alert(1)</script>\n\n**bold**": "&lt;script>alert(1)&lt;/script>\n\n**bold**",
    "[a](javascript:alert(1))": "```text\n[a](javascript:alert(1))\n```",
    "[a](../../../formgrader?path=x)": "```text\n[a](../../../formgrader?path=x)\n```",
    "![a](/formgrader?path=x)": "```text\n![a](/formgrader?path=x)\n```",
    "![a](http://hub/%66ormgrader?path=x)": "```text\n![a](http://hub/%66ormgrader?path=x)\n```",
    "![a](../../../logout)": "```text\n![a](../../../logout)\n```",
    '<img src="//hub/a.png">': '&lt;img src="//hub/a.png">',
    "[a](http://hub/%66ormgrader?path=x)": "```text\n[a](http://hub/%66ormgrader?path=x)\n```",
    "![a](attachment:not_there.png)": "```text\n![a](attachment:not_there.png)\n```",
    "\\begin{a}" * 10_000: "```text\n" + "\\begin{a}" * 10_000 + "\n```",
}


@pytest.mark.parametrize("source", MENDED, ids=lambda source: source[:20])
def test_markdown_that_would_run_in_nbgraders_own_page_becomes_text(source):
    assert harmless_markdown(source) == MENDED[source]


@pytest.mark.parametrize(
    "source",
    [
        "# Title\n\nplain **text**, `x<y`, $a < b$\n\n```c\nvector<int>\n```\n\n| a | b |\n|---|:-:|\n| 1 | 2 |",
        "see <https://arxiv.org/abs/1> and [a page](https://a.b/c) and ![a plot](plots/plot.png) ![](../рис.JPG)",
        "![a badge](https://a.b/badge?style=flat) and ![a plot](https://a.b/plot.png?raw=true)",
        '<center><img src="https://a.b/c.png" width="300"></center>\n\n- [x] done\n- [ ] open',
        "a < b and c > d & e",
        "```brainfuck\n+++\n```\nand a <b>word</b>\n\n```c++\nvector<int>\n```",
        "``` [a](javascript:b)\n<b>\n```",
        '```" onclick="x\n<b>\n```',
    ],
)
def test_ordinary_markdown_is_written_as_it_came(source):
    assert harmless_markdown(source) == source


PIECES = [
    *"<>[]()!*`$&;:#/=\"' \n-|\\{}",
    "script",
    "a",
    "img src=",
    "onerror=x",
    "javascript:",
    "href=",
    "data:",
]
PIECES += ["svg", "&lt;", "&#60;", "b", "1", "\\href"]


@settings(max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=25).map("".join))
def test_no_markdown_gives_a_page_something_to_run(source):
    assert Dangers(render_markdown(source)).found == []
    stock = IPythonRenderer(escape=False)
    page = MarkdownWithMath(renderer=stock).render(harmless_markdown(source))
    assert [danger for danger in Dangers(page).found if not danger.startswith("img src=")] == []


def test_formulas_are_mathml_and_a_hostile_one_is_text():
    assert "<mfrac>" in render_markdown(r"so $\frac{a}{b} < 1$")
    assert (
        Dangers(render_markdown(r"$\href{javascript:alert(1)}{x}$ $\text{<script>alert(1)</script>}$")).found
        == []
    )
    assert "\\frac" in render_markdown("$" + "\\frac{a}{b}" * 1000 + "$")


def test_code_has_colours_and_what_pygments_takes_long_for_is_plain(monkeypatch):
    assert '<span class="k">def</span>' in nbconvert.highlight_code("def f():\n    return 1")
    for text in ("@" * (nbconvert.MAX_CODE + 1), "<b>" * nbconvert.MAX_CODE):
        assert nbconvert.highlight_code(text) == f'<div class="highlight"><pre>{escape(text)}</pre></div>'
    monkeypatch.setattr(nbconvert, "SECONDS", 0.1)
    started = time.process_time()
    assert "<span" not in nbconvert.highlight_code("@" * nbconvert.MAX_CODE)
    assert time.process_time() - started < 2


def test_a_link_shows_where_it_leads_and_cannot_be_clicked():
    page = render_markdown("[a paper](https://arxiv.org/abs/1) and <https://b.c>")
    assert "a paper (https://arxiv.org/abs/1)" in page
    assert "href" not in page
    assert page.count("https://b.c") == 1


def test_an_ordinary_table_and_a_plot_stay_as_they_are():
    table = "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>"
    assert clean_html(table) == table
    assert "data:image/png;base64,aGk=" in clean_html('<img src="data:image/png;base64,aGk=">')


STILL = ("sums.py", "notes.txt", "README", "data.CSV", "plot.PNG", "weights.pth", "lab.ipynb", "report.pdf")
ACTIVE = (
    "a.html",
    "b.SVG",
    "deep/c.xhtml",
    "d.xml",
    "data:page.html",
    "e.xht",
    "f.mhtml",
    "g.js",
    "h.unheard-of",
)
ACTIVE += (
    "nbgrader_config.py",
    "NBGRADER_CONFIG.PY",
    "conftest.py",
    "sitecustomize.py",
    "jupyter_config.json",
)
ACTIVE += (
    ".html",
    ".jupytext.py",
    ".pdbrc",
    "jupytext.toml",
    "matplotlibrc",
    "i.html.",
    "j.html ",
    "course.toml",
)


def test_what_a_browser_or_a_program_might_run_is_renamed_and_the_courses_own_files_are_not(tmp_path):
    graded, course = tmp_path / "graded", tmp_path / "course"
    for name in (*STILL, *ACTIVE, "ours.html", "changed.html"):
        (graded / name).parent.mkdir(parents=True, exist_ok=True)
        (graded / name).write_text("x")
    course.mkdir()
    (course / "ours.html").write_text("x")
    (course / "changed.html").write_text("y")
    notes = defuse(graded, course)
    left = {str(path.relative_to(graded)) for path in graded.rglob("*") if path.is_file()}
    assert left == {*STILL, "ours.html", *(f"{name}.txt" for name in (*ACTIVE, "changed.html"))}
    assert len(notes) == len(ACTIVE) + 1


def test_a_name_that_leaves_no_room_or_is_taken_is_made_harmless_all_the_same(tmp_path):
    graded = tmp_path / "graded"
    (graded / "x.html.txt").mkdir(parents=True)
    for name in ("x.html", f"{'y' * 250}.html", f"{'y' * 250}.htm2", "z\x1b[2J.html"):
        (graded / name).write_text("x")
    notes = defuse(graded, tmp_path)
    names = sorted(path.name for path in graded.iterdir())
    assert len(names) == 5
    assert [name for name in names if not name.endswith(".txt")] == []
    assert "x.html.1.txt" in names
    assert all(note.isprintable() for note in notes)


@pytest.fixture
def graded_course(released_course, hand_in, one_examiner):
    """A course with a right submission whose report is hostile, and one that is partly right."""
    notebook = nbformat.read(released_course / "release" / "hw1" / "part1_sums.ipynb", as_version=4)
    for cell in notebook.cells:
        if grade_id(cell) == "essay":
            cell.source = HOSTILE
        if grade_id(cell) == "plot":
            data = {"text/html": HOSTILE, "text/plain": "plot"}
            cell.source, cell.outputs = "p()", [nbformat.v4.new_output("display_data", data)]
    hand_in("ann", notebook=nbformat.writes(notebook))
    hand_in("bob", "def total(x):\n    return x[0] + sum(x[1:])\n")
    grade(released_course, "hw1")
    return released_course


def test_feedback_shows_scores_and_answers_and_runs_nothing(graded_course):
    pages = feedback(graded_course, "hw1")
    assert set(pages) == {"ann", "bob"}
    page = pages["ann"][0].read_text()
    assert [tag for tag in Dangers(page).found if tag != "meta"] == []
    assert "3 of 3" in page
    assert "so far. Some answers wait for a person." in page
    assert "to be read by a person; up to 2" in page
    assert "default-src 'none'" in page
    failed = pages["bob"][0].read_text()
    assert "Expected:" in failed or "Why:" in failed
    assert "http" not in failed.replace("http-equiv", "")  # nothing is fetched, not even for formulas
    assert "ChecksFailed" not in failed  # the output that carries the score to nbgrader


def test_feedback_never_names_a_hidden_check(graded_course):
    feedback(graded_course, "hw1")
    folder = graded_course / "feedback"
    assert "Hidden check 1" in (folder / "bob" / "hw1" / "part1_sums.html").read_text()
    for path in folder.rglob("*"):
        assert path.is_dir() or "secretly" not in path.read_text()


def test_formgraders_page_runs_nothing_either(graded_course):
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers

    config = NbCourse.open(graded_course).config
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    names = ("assignment_id", "notebook_id", "submission_id", "base_url", "student", "notebook_path")
    resources = {"index": 0, "total": 1, **dict.fromkeys((*names, "last_name", "first_name"), "x")}
    path = graded_course / "autograded" / "ann" / "hw1" / "part1_sums.ipynb"
    exporter = HTMLExporter(config=config)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if grade_id(cell) in ("essay", "plot")]
    page, _ = exporter.from_notebook_node(notebook, resources=resources)
    body = page[page.index('<div class="panel') : page.index('<div class="help">')]
    assert Dangers(body).found == []


def test_feedback_on_a_plain_notebook_leaves_its_hidden_tests_out(tmp_path, one_examiner):
    bench.build_course(tmp_path / "course", 0)
    bench.submit(tmp_path / "course", "ann", "partly")
    grade(tmp_path / "course", bench.ASSIGNMENT)
    ((page,),) = feedback(tmp_path / "course", bench.ASSIGNMENT).values()
    text = page.read_text()
    assert "isfinite" not in text
    assert "hidden tests have run" in text


def test_feedback_before_grading_is_refused_in_a_sentence(released_course):
    with pytest.raises(CourseError, match="run grader grade first"):
        feedback(released_course, "hw1")


def test_the_export_holds_every_student_and_the_grade_by_the_thresholds(graded_course, tmp_path):
    gradebook = NbCourse.open(graded_course).gradebook()
    for name, points in (("essay", 2), ("plot", 1)):
        gradebook.find_grade(name, "part1_sums", "hw1", "ann").manual_score = points
    gradebook.db.commit()
    gradebook.close()
    stock, final = export(graded_course, tmp_path / "grades.csv")
    with stock.open() as file:
        assert {row["student_id"]: float(row["score"]) for row in csv.DictReader(file)} == {
            "ann": 7,
            "bob": 1,
        }
    with final.open() as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert rows["ann"] == {"student_id": "ann", "hw1": "7", "weighted_sum": "1.0000", "grade": "A"}
    assert rows["bob"]["grade"] == ""
    assert float(rows["bob"]["weighted_sum"]) == pytest.approx(1 / 7, abs=1e-4)


def test_points_given_by_hand_to_late_work_shrink_like_the_others(
    released_course, hand_in, one_examiner, tmp_path
):
    (hand_in("ann") / "timestamp.txt").write_text("2030-01-01 12:00:00 UTC\n")
    grade(released_course, "hw1")
    gradebook = NbCourse.open(released_course).gradebook()
    gradebook.find_grade("essay", "part1_sums", "hw1", "ann").manual_score = 2
    gradebook.db.commit()
    gradebook.close()
    _, final = export(released_course, tmp_path / "grades.csv")
    assert next(csv.DictReader(final.open()))["hw1"] == "5.4"


def test_extras_do_not_belong_to_a_full_grade(sample_course):
    path = sample_course / "course.toml"
    path.write_text(
        path.read_text().replace('files = ["sums.py"]', 'files = ["sums.py"]\nextras = ["spread"]')
    )
    assert full_points(Course.load(sample_course).assignment("hw1")) == 6


@given(st.floats(0, 1), st.dictionaries(st.sampled_from("ABCDEF"), st.floats(0, 1), max_size=6))
def test_the_grade_is_the_best_whose_threshold_is_reached(total, thresholds):
    grade = grade_of(total, thresholds)
    reached = {name: bound for name, bound in thresholds.items() if bound <= total}
    if reached:
        assert thresholds[grade] >= max(reached.values())
    assert grade == "" or thresholds[grade] <= total + 1e-9
