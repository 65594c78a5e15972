"""What comes back from a cluster counts only if its task wrote it, about this submission, in this attempt."""

import ast
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path

import pytest

from grader.course import Course, CourseError
from grader.runners.slurm import rounds as module
from grader.runners.slurm import sealed
from grader.runners.slurm.costs import Costs
from grader.runners.slurm.queue import Wanted
from grader.runners.slurm.rounds import Answer, Asked, Keys
from grader.runners.slurm.sealed import About, Refused
from grader.runners.slurm.task import take_key
from grader.slurm_settings import Slurm

ROUND, OTHER = "0" * 16, "1" * 16


def answer(student: str = "anna", digest: str = "d", points: float = 1.0) -> bytes:
    check = {
        "name": "adds", "item": "total", "points": points, "max_points": 1.0, "verdict": "pass", "why": ""
    }  # fmt: skip
    return json.dumps(
        asdict(Answer(student, digest, {"nb": {"checks": [check]}}, 0.1, 0, "n1", 2.0))
    ).encode()


@pytest.fixture
def begun(tmp_path):
    """An attempt whose one task is asked about two students."""
    keys = Keys(tmp_path / "slurm")
    asked = [Asked(name, f"/{name}", "d", {"nb": ["adds"]}) for name in ("anna", "ben")]
    return keys, keys.begin([asked], {"course": "/course"})


def leave(keys: Keys, made: module.Round, index: int, body: bytes, *, key: bytes | None = None) -> Path:
    path = made.folder / f"report-0-{index}"
    about = About("report", made.id, 0, index)
    sealed.write(path, sealed.seal(key or keys.of(made.id, 0), about, body))
    return path


def told(made: module.Round) -> list[str]:
    return [answer.student if isinstance(answer, Answer) else str(answer) for _, _, answer in made.news()]


def test_an_honest_report_is_taken_once(begun):
    keys, made = begun
    leave(keys, made, 0, answer())
    assert told(made) == ["anna"]
    assert told(made) == []


def test_a_forged_report_is_refused_and_the_honest_one_after_it_taken(begun):
    keys, made = begun
    leave(keys, made, 0, answer(), key=secrets.token_bytes(32))
    (sentence,) = told(made)
    assert "its MAC is not that of this task and attempt" in sentence
    leave(keys, made, 0, answer())
    assert told(made) == ["anna"]


def test_one_changed_byte_is_refused(begun):
    keys, made = begun
    path = leave(keys, made, 0, answer(points=0.0))
    path.write_bytes(path.read_bytes().replace(b'"points": 0.0', b'"points": 1.0'))
    assert "forged, or changed on the way" in told(made)[0]


@pytest.mark.parametrize("keep", [0, 20, 150, -1])
def test_a_truncated_report_is_refused(begun, keep):
    keys, made = begun
    path = leave(keys, made, 0, answer())
    path.write_bytes(path.read_bytes()[:keep])
    assert "cut short" in told(made)[0]


def test_another_students_report_is_refused(begun):
    keys, made = begun
    path = leave(keys, made, 0, answer())
    (made.folder / "report-0-1").write_bytes(path.read_bytes())
    assert told(made)[0] == "anna"
    leave(keys, made, 1, answer("anna"))  # even by the task itself
    sentences = told(made)
    assert "is about 'anna', and 'ben' was asked for" in sentences[0]


def test_a_copy_from_another_place_of_the_same_task_says_so(begun):
    keys, made = begun
    path = leave(keys, made, 0, answer())
    path.replace(made.folder / "report-0-1")
    assert "says that it is report 0 of task 0" in told(made)[0]


def test_a_report_of_another_attempt_is_refused(begun):
    keys, made = begun
    again = keys.begin([made.tasks[0].asked], {})
    path = leave(keys, made, 0, answer())
    path.replace(again.folder / path.name)
    assert f"attempt {made.id}; a copy" in told(again)[0]
    # With its first line changed it has the MAC of another key.
    leave(keys, again, 0, answer(), key=keys.of(made.id, 0))
    assert "its MAC is not that of this task and attempt" in told(again)[0]


def test_a_report_on_other_files_is_refused(begun):
    keys, made = begun
    leave(keys, made, 0, answer(digest="of an earlier submission"))
    assert "anna's files that it examined are not those that were handed in" in told(made)[0]


def test_a_report_that_leaves_a_check_out_is_refused(begun):
    keys, made = begun
    body = json.loads(answer())
    body["reports"] = {}
    leave(keys, made, 0, json.dumps(body).encode())
    assert "says nothing of adds" in told(made)[0]


def test_a_closed_task_is_heard_no_more(begun):
    keys, made = begun
    made.close_task(made.tasks[0])
    leave(keys, made, 0, answer())
    assert told(made) == []
    assert take_key(made.folder, 0) is None


def test_nothing_is_parsed_before_its_mac_was_right(begun, monkeypatch):
    keys, made = begun
    monkeypatch.setattr(module.json, "loads", lambda text: pytest.fail("parsed"))
    leave(keys, made, 0, answer(), key=secrets.token_bytes(32))
    assert len(told(made)) == 1


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
def test_what_is_no_small_regular_file_is_never_read(begun, kind, tmp_path, monkeypatch):
    keys, made = begun
    path = leave(keys, made, 0, answer())
    if kind == "large":
        monkeypatch.setattr(sealed, "MOST", 10)
    else:
        aside = path.replace(tmp_path / "aside")
        {"link": lambda: path.symlink_to(aside), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[
            kind
        ]()
    (sentence,) = told(made)
    assert {"link": "a link", "pipe": "not a regular", "folder": "not a regular", "large": "may have"}[
        kind
    ] in sentence


def test_every_task_of_every_attempt_has_a_key_of_its_own():
    keys = {sealed.key_of(b"k" * 32, round_, task) for round_ in (ROUND, OTHER) for task in (0, 1, 10)}
    assert len(keys) == 6


def test_what_a_task_is_asked_can_be_changed_by_nobody_else(begun):
    keys, made = begun
    path = made.folder / "task-0"
    changed = path.read_bytes().replace(b'"student": "anna"', b'"student": "eve!"')
    with pytest.raises(Refused, match="forged"):
        sealed.opened(keys.of(made.id, 0), About("task", made.id, 0), changed)


def test_keys_are_their_owners_alone_and_only_one_process_gets_a_tasks_key(begun):
    keys, made = begun
    for path in (keys.folder, made.folder):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (keys.folder / "key", made.folder / "key-0"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert take_key(made.folder, 0) == keys.of(made.id, 0)
    assert take_key(made.folder, 0) is None
    assert not any("key" in path.name for path in made.folder.iterdir())


def test_nothing_between_submit_host_and_task_could_unpickle():
    modules = [path.read_text() for path in Path(sealed.__file__).parent.glob("*.py")]
    found = {
        name.split(".")[0]
        for text in modules
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert {"json", "hmac"} <= found
    assert not found & {
        "pickle",
        "marshal",
        "shelve",
        "submitit",
        "cloudpickle",
        "joblib",
        "dill",
        "torch",
        "numpy",
    }


def test_a_submit_host_that_starts_again_finds_its_attempts_and_clears_half_a_one(begun):
    keys, made = begun
    (keys.folder / ROUND).mkdir()
    (found,) = Keys(keys.folder).rounds()
    assert (found.id, found.tasks[0].asked) == (made.id, made.tasks[0].asked)
    assert not (keys.folder / ROUND).exists()


def test_the_key_of_another_account_is_a_sentence(begun, monkeypatch):
    keys, _ = begun

    def denied(path):
        raise PermissionError

    monkeypatch.setattr(sealed, "read", denied)
    with pytest.raises(CourseError, match="belongs to another account"):
        Keys(keys.folder)


# --- how much a task gets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("startup", "each"), [(4.0, 0.2), (10.0, 3.0), (1.0, 60.0), (30.0, 0.5)])
def test_starts_take_a_tenth_of_a_batch_at_the_most(tmp_path, startup, each):
    costs = Costs(tmp_path / "measured.json")
    assert costs.batch(60) is None
    costs.startups, costs.seconds = [startup], [each] * 3
    size = costs.batch(60)
    assert startup / (startup + size * each) <= 0.1 + 1e-9
    assert size == 1 or startup / (startup + (size - 1) * each) > 0.1
    costs.keep()
    assert Costs(tmp_path / "measured.json").batch(60) == size


def test_a_batch_leaves_two_thirds_of_its_time_to_what_is_slower_than_it_looks(tmp_path):
    costs = Costs(tmp_path / "measured.json")
    costs.startups, costs.seconds = [60.0], [10.0] * 3
    assert costs.batch(minutes=5) == 10


def test_sbatch_is_told_what_the_course_says():
    settings = Slurm("gpu", "cs101", 30, 7, 3, options=("--qos=teaching",))
    told = Wanted(settings, (3 << 30) + 1, gpus=1, exclude=("n1",)).options(50)
    for option in (
        *(
            "--array=0-49%7",
            "--cpus-per-task=3",
            "--mem=3073M",
            "--time=30",
            "--gres=gpu:1",
            "--partition=gpu",
        ),
        *("--account=cs101", "--exclude=n1", "--qos=teaching", "--no-requeue", "--export=LANG=C.UTF-8"),
    ):
        assert option in told


TOML = """[course]
name = "C"
[assignments.hw]
[slurm]
"""


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        ("minutes = 0", "line 5: slurm.minutes is 0; it must be 1 at least"),
        ('memory = "4 gigs"', "line 5: slurm.memory .* is not a size"),
        ('at_onec = "4"', "did you mean at_once"),
        ('options = ["--requeue"]', "--requeue is said by the grader itself"),
        ('options = ["--arr=0-9"]', "--arr is said by the grader itself"),
        ('options = ["-t10"]', "-t10 is said by the grader itself"),
        ('options = ["qos=low"]', "is no option"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_with_its_line(tmp_path, says, sentence):
    (tmp_path / "course.toml").write_text(TOML + says + "\n")
    with pytest.raises(CourseError, match=sentence):
        Course.load(tmp_path)


def test_a_course_that_says_nothing_of_slurm_has_settings(tmp_path):
    (tmp_path / "course.toml").write_text(TOML.replace("[slurm]\n", ""))
    assert Course.load(tmp_path).slurm == Slurm()
