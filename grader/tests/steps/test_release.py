"""What students get holds all they need and no secret."""

import os
import shutil
import subprocess
import time
from datetime import datetime

import pytest

from grader.book.nbgrader_course import NbCourse, run_converter
from grader.course import Course, CourseError
from grader.lean import nbformat
from grader.notebooks import source
from grader.steps.release import release, release_repository
from grader.steps.secrets import refuse_leaks, secrets_of

SECRETS = (
    "total_of_the_empty_list_secretly",
    "spread_of_equal_numbers_secretly",
    "accumulated_by_reference",
    "max(numbers) - min(numbers)",
    "commutes beautifully",
    "the model plot",
    "BEGIN SOLUTION",
    "forgets to add",
)


def everything(folder):
    return "\n".join(
        path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    )


def test_no_hidden_check_and_no_solution_is_in_the_release(released_course):
    text = everything(released_course / "release")
    assert [secret for secret in SECRETS if secret in text] == []
    source = everything(released_course / "source")
    assert [secret for secret in SECRETS if secret not in source] == []  # the words above are the right ones


def test_the_release_holds_stub_notebook_and_public_checks(released_course):
    folder = released_course / "release" / "hw1"
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert names == {"sums.py", "part1_sums.ipynb", "checks/part1_public.py"}
    assert 'NotImplementedError("not implemented yet: total")' in (folder / "sums.py").read_text()
    notebook = nbformat.read(folder / "part1_sums.ipynb", as_version=4)
    essay = next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == "essay")
    assert essay.source == "*Write your answer here.*"


def test_solutions_that_try_the_checks_are_not_in_the_release(released_course):
    for folder in ("right", "wrong"):
        assert list((released_course / "source" / "hw1" / folder).iterdir()) != []
        assert [path for path in (released_course / "release").rglob("*") if folder in path.parts] == []
    assert "# replaces:" not in everything(released_course / "release")


def test_nbgraders_own_command_releases_the_same_bytes(released_course):
    from nbgrader.converters import GenerateAssignment

    before = everything(released_course / "release")
    course = NbCourse.open(released_course)
    course.folders.assignment_id = "hw1"
    converter = GenerateAssignment(coursedir=course.folders, config=course.config)
    converter.force = True
    run_converter(converter, "releasing")
    assert everything(released_course / "release") == before


def test_the_gradebook_knows_the_deadline_and_the_points(released_course):
    gradebook = NbCourse.open(released_course).gradebook()
    assignment = gradebook.find_assignment("hw1")
    assert assignment.duedate == datetime(2030, 1, 1)
    assert assignment.max_score == 7
    gradebook.close()


def test_a_changed_text_is_in_the_next_release(released_course):
    path = released_course / "source" / "hw1" / "part1_sums.md"
    path.write_text(path.read_text().replace("# Sums", "# Sums and spreads"))
    release(released_course, "hw1")
    assert "Sums and spreads" in (released_course / "release" / "hw1" / "part1_sums.ipynb").read_text()


def move_the_deadline(course):
    path = course / "course.toml"
    path.write_text(path.read_text().replace("2030-01-01T00:00:00Z", "2030-01-08T00:00:00Z"))


def touch_all(course):
    for path in (course / "course.toml", *(course / "source" / "hw1").glob("*.*")):
        os.utime(path, (time.time() + 3600, time.time() + 3600))


def put_back_an_older_text(course):
    path = course / "source" / "hw1" / "part1_sums.md"
    path.write_text(path.read_text().replace("# Sums", "# Older sums"))
    os.utime(path, (1e9, 1e9))


def edit_the_notebook(course):
    path = course / "source" / "hw1" / "part1_sums.ipynb"
    path.write_text(path.read_text().replace("Write two functions", "Write no function"))


def by_nbgrader(course, assignment):
    from nbgrader.converters import GenerateAssignment

    opened = NbCourse.open(course)
    opened.choose(assignment)
    converter = GenerateAssignment(coursedir=opened.folders, config=opened.config)
    converter.force = True
    run_converter(converter, "releasing")


@pytest.mark.parametrize("releases", [release, by_nbgrader])
@pytest.mark.parametrize("change", [move_the_deadline, touch_all, put_back_an_older_text, edit_the_notebook])
def test_a_release_is_what_the_files_say_whatever_their_dates(released_course, change, releases):
    before = everything(released_course / "release")
    change(released_course)
    releases(released_course, "hw1")
    after = everything(released_course / "release")
    assert ("# Older sums" in after) == (change is put_back_an_older_text)
    assert after == before or change is put_back_an_older_text
    gradebook = NbCourse.open(released_course).gradebook()
    day = 8 if change is move_the_deadline else 1
    assert gradebook.find_assignment("hw1").duedate == datetime(2030, 1, day)
    gradebook.close()


def test_what_was_looked_at_and_is_up_to_date_is_not_looked_at_again(released_course, monkeypatch):
    move_the_deadline(released_course)
    NbCourse.open(released_course)
    monkeypatch.setattr(source, "build_notebook", lambda part: 1 / 0)
    NbCourse.open(released_course)


def test_an_inconsistent_assignment_is_not_released(sample_course):
    path = sample_course / "source" / "hw1" / "checks" / "part1_public.py"
    path.write_text(path.read_text().replace("points=1,", "points=2,"))
    with pytest.raises(CourseError, match="add up to 4 points"):
        release(sample_course, "hw1")
    assert not (sample_course / "release").exists()


def left_behind(course):
    """Return what a release may write."""
    own = ("source", "course.toml", ".grader")
    return sorted(path.name for path in course.iterdir() if path.name not in own)


@pytest.mark.parametrize("config", [None, "c = get_config()\n"])
def test_without_the_graders_configuration_nothing_is_released_and_the_cause_is_named(sample_course, config):
    path = sample_course / "nbgrader_config.py"
    path.unlink()
    if config is not None:
        path.write_text(config)
    with pytest.raises(
        CourseError, match=r"nbgrader_config\.py: (not found|does not call).*hidden checks of hw1"
    ):
        release(sample_course, "hw1")
    assert left_behind(sample_course) == ([] if config is None else ["nbgrader_config.py"])


def leak(course):
    """Let the statement tell a solution."""
    path = course / "source" / "hw1" / "sums.py"
    solution = "return max(numbers) - min(numbers)  # the largest less the smallest"
    path.write_text(path.read_text().replace("return max(numbers) - min(numbers)", solution))
    path = course / "source" / "hw1" / "part1_sums.md"
    path.write_text(f"{path.read_text()}\n\nWrite `{solution}`.\n")


def test_a_release_that_fails_leaves_nothing_behind(sample_course):
    leak(sample_course)
    with pytest.raises(CourseError, match=r"part1_sums\.ipynb: holds the solution .*; nothing was released"):
        release(sample_course, "hw1")
    assert left_behind(sample_course) == ["nbgrader_config.py"]  # no release, no gradebook


def test_a_release_that_fails_leaves_the_earlier_one(released_course):
    before = everything(released_course / "release")
    leak(released_course)
    with pytest.raises(CourseError, match="nothing was released"):
        release(released_course, "hw1")
    assert everything(released_course / "release") == before
    assert [path.name for path in (released_course / "release").iterdir()] == ["hw1"]
    gradebook = NbCourse.open(released_course).gradebook()
    assert [one.name for one in gradebook.assignments] == ["hw1"]
    gradebook.close()


def test_a_new_assignment_that_fails_is_not_in_the_gradebook_beside_others(released_course):
    course = released_course / "course.toml"
    text = course.read_text()
    more = text[text.index("[assignments.hw1]") :].replace("hw1", "hw2").replace("part1_sums", "part1_more")
    course.write_text(text + more)
    source = released_course / "source" / "hw2"
    shutil.copytree(released_course / "source" / "hw1", source)
    (source / "part1_sums.ipynb").unlink()
    statement = (source / "part1_sums.md").read_text()
    (source / "part1_more.md").write_text(f"{statement}\n\ntotal_of_the_empty_list_secretly\n")
    (source / "part1_sums.md").unlink()
    with pytest.raises(CourseError, match="nothing was released"):
        release(released_course, "hw2")
    gradebook = NbCourse.open(released_course).gradebook()
    assert [one.name for one in gradebook.assignments] == ["hw1"]
    gradebook.close()


def test_a_cached_helper_in_the_hidden_file_is_no_hidden_check(sample_course):
    path = sample_course / "source" / "hw1" / "checks" / "part1_hidden.py"
    path.write_text(
        f"{path.read_text()}\n\nfrom functools import cache\n\n\n@cache\ndef helper():\n    pass\n"
    )
    told = [what for what, _ in secrets_of(Course.load(sample_course).assignment("hw1"))]
    assert "the name of the hidden check spread_of_equal_numbers_secretly" in told
    assert "the name of the hidden check helper" not in told


def test_hidden_mutants_are_secrets_whatever_their_file_is_called_where_it_leaks(sample_course, tmp_path):
    checks = sample_course / "source" / "hw1" / "checks"
    (checks / "mutants_hidden.toml").write_text('[sum_from_one]\nfile = "sums.py"\n')
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "mutants.toml").write_text("# copied\n[sum_from_one]\n")
    with pytest.raises(CourseError, match=r"mutants\.toml: holds sum_from_one of mutants_hidden\.toml"):
        refuse_leaks(tmp_path / "published", [Course.load(sample_course).assignment("hw1")])


def test_an_unknown_assignment_is_said_in_a_sentence(sample_course):
    with pytest.raises(CourseError, match="hw7"):
        release(sample_course, "hw7")


@pytest.mark.parametrize("where", ["README.md", "week01_intro/lecture.md"])
def test_a_secret_anywhere_in_the_folder_is_found(released_course, tmp_path, where):
    assignment = Course.load(released_course).assignment("hw1")
    path = tmp_path / "published" / where
    path.parent.mkdir(parents=True)
    for _, secret in secrets_of(assignment):
        path.write_text("harmless")
        refuse_leaks(tmp_path / "published", [assignment])
        path.write_text(f"before\n  {secret.replace(' ', chr(10) + '    ')}\nafter")
        with pytest.raises(CourseError, match="must not get"):
            refuse_leaks(tmp_path / "published", [assignment])


def test_a_model_answer_in_a_notebook_is_found_across_its_lines(released_course, tmp_path):
    assignment = Course.load(released_course).assignment("hw1")
    answer = "The model answer: addition\ncommutes\n\nbeautifully."
    assert any(" ".join(answer.split()) == secret for _, secret in secrets_of(assignment))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(answer)])
    (tmp_path / "published").mkdir()
    nbformat.write(notebook, tmp_path / "published" / "page.ipynb")
    with pytest.raises(CourseError, match="model answer of essay"):
        refuse_leaks(tmp_path / "published", [assignment])


@pytest.fixture
def repository(released_course):
    """A git repository around the course, with what a student needs and what they must not get."""
    root = released_course.parent
    for name in (
        "effdl/__init__.py",
        "grader/cli.py",
        "week01_intro/lecture.md",
        "README.md",
        "pyproject.toml",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"# {name}\n")
    (root / "week01_intro" / "untracked.txt").write_text("a draft\n")
    (root / "INSTRUCTORS.md").write_text("for instructors\n")
    (root / ".gitignore").write_text("/assignments/release/\n/assignments/gradebook.db\n")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    tracked = ["effdl", "grader", "week01_intro/lecture.md", "README.md", "pyproject.toml", ".gitignore"]
    subprocess.run(["git", "add", *tracked], cwd=root, check=True)
    subprocess.run([*git, "commit", "-qm", "all"], cwd=root, check=True)
    return root


def test_the_repository_for_students_can_be_cloned_and_worked_in(repository, tmp_path):
    target = tmp_path / "public"
    assert release_repository(repository / "assignments", target) == ["hw1"]
    names = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {"effdl/__init__.py", "grader/cli.py", "week01_intro/lecture.md", "README.md"} <= names
    assert {"assignments/course.toml", "assignments/release/hw1/checks/part1_public.py"} <= names
    for absent in ("untracked.txt", "INSTRUCTORS.md", "gradebook.db", "part1_hidden.py", "part1_sums.md"):
        assert not any(name.endswith(absent) for name in names)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)
    subprocess.run(["git", "add", "-A"], cwd=target, check=True)
    kept = subprocess.run(["git", "ls-files"], cwd=target, check=True, capture_output=True, text=True).stdout
    assert "assignments/release/hw1/sums.py" in kept  # the course itself ignores this folder
    part = Course.load(target / "assignments").assignment("hw1").part(1)
    assert part.checks_public.is_file()
    assert not part.checks_hidden.exists()
    text = everything(target)
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_repository_that_cannot_be_published_is_not_left_there(repository, tmp_path):
    (repository / "week01_intro" / "lecture.md").write_text("total_of_the_empty_list_secretly")
    with pytest.raises(CourseError, match=r"week01_intro/lecture\.md: holds the name of the hidden check"):
        release_repository(repository / "assignments", tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_the_page_on_handing_in_says_what_where_until_when_and_what_may_be_imported(repository, tmp_path):
    course = repository / "assignments" / "course.toml"
    text = course.read_text().replace('name = "Sums"', 'name = "Sums"\nhand_in = "Put it under the door."')
    course.write_text(text.replace('files = ["sums.py"]', 'files = ["sums.py"]\nextras = ["spread"]'))
    release_repository(repository / "assignments", tmp_path / "public")
    page = (tmp_path / "public" / "HAND-IN.md").read_text()
    for said in (
        "Put it under the door.",
        "due 2030-01-01 00:00 UTC",
        "costs 10 % of the points, from 10 minutes on; after 3 days a submission counts for nothing",
        "| 1 | `part1_sums.ipynb` | `sums.py` | 6 | `spread` 1 |",
        "Not the folders of this repository",
    ):
        assert said in page
    front = (tmp_path / "public" / "README.md").read_text()
    for command in ("start hw1", "check --in hw1", "pack --in hw1"):
        assert f"\n.venv/bin/grader {command}" in front


def test_a_folder_that_holds_something_is_not_written_over(repository, tmp_path):
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "thesis.txt").write_text("mine")
    with pytest.raises(CourseError, match="not empty"):
        release_repository(repository / "assignments", tmp_path / "public")
