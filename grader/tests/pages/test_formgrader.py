"""An instructor at work in a real browser, and a student who would like to work there too."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.lean import nbformat
from grader.notebooks.template import grade_id
from grader.steps.feedback import feedback
from grader.steps.grade import grade
from grader.tests.conftest import RIGHT

ElementClickInterceptedException = pytest.importorskip(
    "selenium.common.exceptions", reason="selenium is not installed (requirements-test.txt)"
).ElementClickInterceptedException
CSS = "css selector"

# Every paragraph is one way into a page; each that succeeds leaves its name in window.pwned.
HOSTILE = r"""# essay

<script>window.pwned='script'</script>

<img src=x onerror="window.pwned='handler'">

<svg onload="window.pwned='svg'"></svg>

<svg><script>window.pwned='svg script'</script></svg>

<math><mtext><img src=x onerror="window.pwned='math'"></mtext></math>

<details open ontoggle="window.pwned='toggle'">x</details>

<iframe srcdoc="<script>parent.pwned='frame'</script>"></iframe>

<input autofocus onfocus="window.pwned='focus'">

<style>@import 'x'; body { animation: a 1s } @keyframes a {}</style><p onanimationstart="window.pwned='css'">x</p>

<a class="trap" href="javascript:window.pwned='link'">trap</a>

[trap](javascript:window.pwned='markdown')

[trap](java&#115;cript:window.pwned='entity')

[trap](evil.html)

[trap](../../../formgrader?path=submitted/mallory/hw1)

[trap](/formgrader?path=submitted/mallory/hw1)

<form action="evil.html"><button class="trap">trap</button></form>

$\href{javascript:window.pwned='tex'}{trap}$ and $\text{<img src=x onerror="window.pwned='tex text'">}$

![$x$](data:image/png;base64,aGk= "$\text{\" onload=window.pwned='title' x=\"}$")

<div class="nbgrader_cell modal in navbar-fixed-top" id="essay"><input class="score" id="total"></div>
"""
OUTPUTS = [
    {
        "text/html": "<script>window.pwned='output'</script><b onclick=\"window.pwned='output handler'\">trap</b>"
    },
    {"text/markdown": "<img src=x onerror=\"window.pwned='markdown output'\">"},
    {"text/latex": "$<img src=x onerror=\"window.pwned='latex output'\">$"},
    {"image/svg+xml": "<svg onload=\"window.pwned='svg output'\"></svg>"},
    {"application/javascript": "window.pwned='javascript output'"},
    {"text/plain": "<script>window.pwned='text output'</script>"},
]


@pytest.fixture(scope="module")
def course(_released, tmp_path_factory):
    """A graded course: Ann's right work, Bob's broken one, and Mallory's, who is hostile in every text."""
    root = tmp_path_factory.mktemp("formgrader") / "assignments"
    shutil.copytree(_released, root)
    hand_in(root, "ann", RIGHT, "The sum is $a + b$.")
    hand_in(root, "bob", "def total(x):\n    return 0\n", "No idea.")
    folder = hand_in(root, "mallory", RIGHT, HOSTILE)
    (folder / "evil.html").write_text("<script>window.pwned = 'file'; document.title = 'pwned'</script>")
    (folder / "evil.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='window.pwned=1'></svg>")
    (folder / "nbgrader_config.py").write_text(f"open({str(root / 'PWNED')!r}, 'w')\n")
    (folder / "<img src=x onerror=alert(1)>.py").write_text("")
    assert not [result.error for result in grade(root, "hw1") if result.error]
    gradebook = NbCourse.open(root).gradebook()
    name = "<img src=x onerror=\"window.pwned='name'\">"
    gradebook.update_or_create_student("mallory", first_name=name, last_name=f"</title>{name}")
    gradebook.close()
    return root


def hand_in(root, student, sums, essay):
    folder = root / "submitted" / student / "hw1"
    shutil.copytree(root / "release" / "hw1", folder)
    (folder / "sums.py").write_text(sums)
    path = folder / "part1_sums.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if grade_id(cell) == "essay":
            cell.source = essay
        if grade_id(cell) == "plot" and student == "mallory":
            cell.source = "draw()  # <script>window.pwned='source'</script>"
            cell.outputs = [nbformat.v4.new_output("display_data", data) for data in OUTPUTS]
    nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="module")
def address(course, tmp_path_factory):
    """The address of a Jupyter server with formgrader on the course."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    scratch = tmp_path_factory.mktemp("jupyter")
    environment = {
        **os.environ,
        **{f"JUPYTER_{name}_DIR": str(scratch) for name in ("CONFIG", "DATA", "RUNTIME")},
    }
    command = [sys.executable, "-m", "jupyter", "server", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", f"--ServerApp.root_dir={course}", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1"]
    log = scratch / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=course, env=environment, stdout=file, stderr=file)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/api/status"), 300, log.read_text)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(300)


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


def wait_for(found, seconds=300, told=lambda: ""):
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, told()
        time.sleep(0.1)
    return result


def submission(address, student):
    """Return the id of a student's notebook, as formgrader's own list has it."""
    url = f"{address}/formgrader/api/submitted_notebooks/hw1/part1_sums"
    rows = json.load(urllib.request.urlopen(url))
    return next(row["id"] for row in rows if row["student"] == student)


def open_submission(browser, address, student):
    browser.get(f"{address}/formgrader/submissions/{submission(address, student)}/")
    ready = "return formgrader.loaded && formgrader.grades.loaded && formgrader.comments.loaded"
    wait_for(lambda: browser.execute_script(ready), told=lambda: str(browser.get_log("browser")))


def recorded(course, student, cell):
    gradebook = NbCourse.open(course).gradebook()
    try:
        grade = gradebook.find_grade(cell, "part1_sums", "hw1", student)
        return grade.auto_score, grade.manual_score, grade.needs_manual_grade
    finally:
        gradebook.close()


def comment_on(course, student, cell):
    gradebook = NbCourse.open(course).gradebook()
    try:
        return gradebook.find_comment(cell, "part1_sums", "hw1", student).manual_comment
    finally:
        gradebook.close()


def enter(browser, element, text):
    element.clear()
    element.send_keys(text)
    browser.execute_script("arguments[0].blur()", element)


def test_the_gradebook_leads_to_a_submission_and_nothing_is_missing_without_network(browser, address):
    browser.get(f"{address}/formgrader/gradebook")
    for text in ("hw1", "part1_sums", "Submission #1"):
        wait_for(lambda text=text: browser.find_elements("link text", text))[0].click()
    wait_for(lambda: browser.execute_script("return window.formgrader && formgrader.loaded"))
    assert "Write two functions" in browser.page_source
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    # Pictures that a student named are not there; all else of the page must be.
    assert not [message for message in severe if "/static/" in message or "Error" in message]


def test_points_and_a_comment_given_by_hand_reach_the_gradebook_and_the_feedback(browser, address, course):
    assert recorded(course, "ann", "essay") == (None, None, True)
    open_submission(browser, address, "ann")
    enter(browser, browser.find_element(CSS, "input#essay"), "1.5")
    enter(browser, browser.find_element(CSS, "input#total"), "2")
    remark = "Well put: $x^2$ <img src=x onerror=\"window.pwned='comment'\">"
    enter(browser, browser.find_element(CSS, "textarea#essay-comment"), remark)
    wait_for(lambda: recorded(course, "ann", "essay") == (None, 1.5, False))
    wait_for(lambda: recorded(course, "ann", "total") == (3.0, 2.0, False))
    wait_for(lambda: comment_on(course, "ann", "essay") == remark)

    browser.get(f"{address}/formgrader/manage_submissions/hw1")
    press(browser, "ann", "generate-feedback")
    page = course / "feedback" / "ann" / "hw1" / "part1_sums.html"
    browser.get(page.as_uri())
    shown = browser.find_element(CSS, "body").text
    assert "Score: 4.5 of 7" in shown
    assert "Well put" in shown
    assert browser.execute_script("return window.pwned") is None


def press(browser, student, button):
    """Press a button in a student's row, wait for the answer and close it."""
    row = f"//td[contains(@class, 'student-id') and text()='{student}']/.."
    wait_for(lambda: browser.find_elements("xpath", f"{row}//td[contains(@class, '{button}')]/a"))[0].click()
    (modal,) = wait_for(lambda: browser.find_elements(CSS, ".modal.in"), 600)
    told = modal.get_attribute("textContent")  # it may still fade in
    assert "Success" in told, told


def test_the_autograde_button_runs_the_examiner_and_keeps_what_was_given_by_hand(browser, address, course):
    assert recorded(course, "bob", "spread")[0] == 0
    open_submission(browser, address, "bob")
    enter(browser, browser.find_element(CSS, "input#essay"), "1")
    wait_for(lambda: recorded(course, "bob", "essay")[1] == 1)
    (course / "submitted" / "bob" / "hw1" / "sums.py").write_text(RIGHT)
    browser.get(f"{address}/formgrader/manage_submissions/hw1")
    press(browser, "bob", "autograde")
    assert recorded(course, "bob", "spread")[0] == 1
    assert recorded(course, "bob", "total")[0] == 3
    assert recorded(course, "bob", "essay")[1] == 1
    kept = json.loads((course / ".grader" / "hw1" / "bob.json").read_text())
    assert all(check["verdict"] == "pass" for check in kept["reports"]["part1_sums"]["checks"])


def test_nothing_of_a_submission_runs_in_formgrader(browser, address, course):
    open_submission(browser, address, "mallory")
    here = browser.current_url.split("?")[0]
    assert "trap" in browser.find_element(CSS, "body").text
    for number in range(len(traps(browser))):
        trap = traps(browser)[number]
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", trap)
        try:
            trap.click()
        except ElementClickInterceptedException:  # something lies over it, which a script does not mind
            browser.execute_script("arguments[0].click()", trap)
        time.sleep(0.1)
        assert browser.execute_script("return window.pwned") is None
        assert browser.current_url.split("?")[0] == here
        assert len(browser.window_handles) == 1
    for page in (
        *("gradebook", "gradebook/hw1", "gradebook/hw1/part1_sums", "manage_submissions/hw1"),
        *("manage_students", "manage_students/mallory", "manage_students/mallory/hw1", "manage_assignments"),
    ):
        browser.get(f"{address}/formgrader/{page}")
        time.sleep(0.5)
        assert browser.execute_script("return window.pwned") is None, page
    assert not (course / "PWNED").exists()


def traps(browser):
    return browser.find_elements("xpath", "//*[@id='notebook']//*[text()='trap']")


def test_no_file_of_a_submission_is_served_as_a_page(address, course):
    base = f"{address}/formgrader/submissions/{submission(address, 'mallory')}"
    for name in ("evil.html", "evil.svg", "nbgrader_config.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/{name}")
        assert urllib.request.urlopen(f"{base}/{name}.txt").headers["Content-Type"].startswith("text/plain")


def test_a_box_for_points_belongs_to_its_own_cell_whatever_the_student_writes(browser, address):
    open_submission(browser, address, "mallory")
    for cell in ("total", "spread", "essay", "plot"):
        assert len(browser.find_elements(CSS, f"[id='{cell}']")) == 1


def test_nothing_of_a_submission_runs_in_its_feedback(browser, course):
    pages = feedback(course, "hw1", students=["mallory"])["mallory"]
    assert [page.name for page in pages] == ["part1_sums.html"]
    browser.get(pages[0].as_uri())
    assert "trap" in browser.find_element(CSS, "body").text
    for element in browser.find_elements("xpath", "//*[text()='trap']"):
        element.click()
    time.sleep(0.3)
    assert browser.execute_script("return window.pwned") is None
    assert browser.current_url == pages[0].as_uri()


def as_stock_page(notebook: Path) -> str:
    """Return the page that nbgrader itself, without this course's configuration, makes of a graded notebook."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers

    exporter = HTMLExporter(template_name="formgrade", extra_template_basedirs=[handlers.template_path])
    names = ("assignment_id", "notebook_id", "submission_id", "base_url", "student", "notebook_path")
    names += ("last_name", "first_name")
    resources = {"index": 0, "total": 1, **dict.fromkeys(names, "x")}
    return exporter.from_filename(str(notebook), resources=resources)[0]


def test_what_is_rebuilt_is_harmless_even_in_nbgraders_own_page(browser, course, tmp_path):
    graded = course / "autograded" / "mallory" / "hw1" / "part1_sums.ipynb"
    (tmp_path / "graded.html").write_text(as_stock_page(graded))
    browser.get((tmp_path / "graded.html").as_uri())
    time.sleep(0.5)
    assert browser.execute_script("return window.pwned") is None
    # The same page of the notebook as it was submitted: were it harmless too, these tests would show nothing.
    submitted = course / "submitted" / "mallory" / "hw1" / "part1_sums.ipynb"
    (tmp_path / "submitted.html").write_text(as_stock_page(submitted))
    browser.get((tmp_path / "submitted.html").as_uri())
    wait_for(lambda: browser.execute_script("return window.pwned"))
