"""The seminar's exercises, checked by real programs, and what its instruments must not get wrong."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from effdl import prometheus
from effdl.exercises import exercises

pytest.importorskip("hydra", reason="needs requirements-week09.txt")
pytest.importorskip("dvc", reason="needs requirements-week09.txt")
pytest.importorskip("mlflow", reason="needs requirements-week09.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-week09.txt")
from week09_experiment_tracking import forked_pytest, seminar_faults, seminar_project, seminar_stream
from week09_experiment_tracking import seminar_trials as trials
from week09_experiment_tracking.figures import seminar as figures

WEEK = Path(__file__).resolve().parent.parent
SEMINAR = {exercise.title[0]: exercise for exercise in exercises(WEEK / "seminar.md") if exercise.cell}
needs_prometheus = pytest.mark.skipif(not prometheus.installed(), reason="Prometheus is not installed")


@pytest.fixture(scope="module")
def root():
    with seminar_project.temporary() as folder:
        yield folder


@pytest.fixture(scope="module")
def ours(root):
    """A project whose pipeline has run, committed and pushed. No test changes it: each takes a copy."""
    project = seminar_project.create(root / "ours", root / "remote")
    project.python("configure.py")
    assert set(project.repro().values()) == {"ran"}
    project.commit("all")
    project.dvc("push", "--quiet")
    return project


def names(ours, **more):
    given = {"trials": trials, "seminar_project": seminar_project, "ours": ours, "colleague": ours}
    return given | more


def test_no_exercise_of_the_seminar_was_overlooked():
    assert list(SEMINAR) == list("ABCDEFGHI")
    assert all(exercise.solution for exercise in SEMINAR.values())


def test_solution_a_composes_what_the_command_line_does(ours):
    given = names(ours, wide=trials.command_line(ours, ["model=wide", "train.lr=0.1"]))
    assert given["wide"]["model"] == {"width": 128, "dropout": 0.3}
    assert trials.command_line(ours, ["train.rl=0.1"]) == "refused"
    assert not SEMINAR["A"].verdict(given, solved=False)
    assert SEMINAR["A"].verdict(given, solved=True)


@pytest.mark.drawn(4)
def test_solution_b_runs_when_its_result_can_change_and_only_then(ours):
    assert not SEMINAR["B"].verdict(names(ours), solved=False)
    assert SEMINAR["B"].verdict(names(ours), solved=True)


@pytest.mark.drawn(4)
@pytest.mark.parametrize(
    ("left_out", "edit"),
    [
        ("data/prepared.npz", "one more test image"),
        ("classifier/inference.py", "another way to read the exported file"),
    ],
)
def test_a_stage_with_a_dependency_missing_keeps_its_old_result(ours, left_out, edit):
    def careless():
        whole = {}
        exec(SEMINAR["B"].solution, whole)
        stage = whole["evaluate_of_mine"]()
        return {**stage, "deps": [one for one in stage["deps"] if one != left_out]}

    trial = trials.evaluate_stage(careless, ours)
    assert trial("first run") == "ran"
    assert trial(edit) == "-"


def test_solution_c_asks_mlflow_for_the_best_finished_run(tmp_path):
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("week09", str(tmp_path))
    rows = []
    for width, seed, status, accuracy in [
        ("32", "0", "FINISHED", 0.91),
        ("32", "1", "FINISHED", 0.93),
        ("32", "2", "RUNNING", 0.99),
        ("128", "0", "FINISHED", 0.97),
        ("128", "1", "FINISHED", 0.95),
    ]:
        run = client.create_run(experiment).info.run_id
        client.log_param(run, "model.width", width)
        client.log_param(run, "train.seed", seed)
        client.log_batch(run, [Metric("accuracy", accuracy, 0, 0)])
        if status == "FINISHED":
            client.set_terminated(run)
        rows.append([width, seed, status, accuracy])
    given = {"client": client, "experiment": experiment, "rows": rows}
    assert not SEMINAR["C"].verdict(given, solved=False)
    assert SEMINAR["C"].verdict(given, solved=True)


@pytest.mark.drawn(4)
def test_solution_d_kills_the_three_survivors_and_an_empty_test_kills_none(ours):
    assert not SEMINAR["D"].verdict(names(ours), solved=False)
    assert SEMINAR["D"].verdict(names(ours), solved=True)
    empty = trials.survivors(lambda: "def test_nothing():\n    pass\n", ours)
    assert [empty(name) for name in ("as it is", *trials.SURVIVORS)] == ["passes"] * 4


@pytest.mark.drawn(4)
def test_a_file_without_tests_and_one_that_is_no_python_are_told_apart_from_a_right_one(ours):
    assert trials.survivors(lambda: "", ours)("as it is") == "no test was found"
    assert trials.survivors(lambda: "def test(:", ours)("as it is") == "killed"


def test_solution_e_stops_at_the_first_failure(ours):
    assert not SEMINAR["E"].verdict(names(ours), solved=False)
    assert SEMINAR["E"].verdict(names(ours), solved=True)


@pytest.mark.drawn(4)
def test_solution_f_goes_on_to_the_bit_and_without_any_part_it_does_not(ours):
    assert not SEMINAR["F"].verdict(names(ours), solved=False)
    assert SEMINAR["F"].verdict(names(ours), solved=True)
    whole = {}
    exec(SEMINAR["F"].solution, whole)
    solution = whole["state_of_mine"]

    def without(part):
        def careless(run, state=None):
            if state is None:
                return solution(run)
            fresh = solution(run)
            return solution(run, {**state, part: fresh[part]})

        return careless

    for part in ("velocity", "dropout", "shuffling", "waiting"):
        assert trials.resumed(without(part), ours)(21) == "another network"


@pytest.mark.drawn(4)
@needs_prometheus
def test_solution_g_fires_after_the_drift_and_not_before(ours):
    assert not SEMINAR["G"].verdict(names(ours), solved=False)
    assert SEMINAR["G"].verdict(names(ours), solved=True)


def test_solution_i_is_a_quantile_of_the_mean_of_several_seeds():
    assert not SEMINAR["I"].verdict({}, solved=False)
    assert SEMINAR["I"].verdict({}, solved=True)


@pytest.mark.drawn(4)
def test_solution_h_gives_a_colleague_the_new_network(ours):
    assert not SEMINAR["H"].verdict(names(ours), solved=False)
    assert SEMINAR["H"].verdict(names(ours), solved=True)


def test_a_version_that_ends_its_process_is_a_failure(tmp_path):
    (tmp_path / "test_it.py").write_text("import it\n\ndef test_it():\n    assert it.f() == 1\n")
    versions = {
        "right": {"it.py": "def f():\n    return 1\n"},
        "wrong": {"it.py": "def f():\n    return 2\n"},
        "gone": {"it.py": "import os\ndef f():\n    os._exit(0)\n"},
        "no Python": {"it.py": "def f(:\n"},
        "right again": {"it.py": "def f():\n    return 1\n"},
    }
    environ = seminar_project.environment(tmp_path)
    found = forked_pytest.outcomes(tmp_path, versions, ["test_it.py"], environment=environ)
    assert {name: all(told.values()) and bool(told) for name, told in found.items()} == {
        "right": True,
        "wrong": False,
        "gone": False,
        "no Python": False,
        "right again": True,
    }
    assert not (tmp_path / "it.py").exists()


def test_a_version_that_could_not_be_laid_is_not_counted_as_killed(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_it():\n    pass\n")
    environ, passes = seminar_project.environment(tmp_path), {"as it is": {"test_it": True}}
    # What Hypothesis writes in one worker is renamed while another copies; a link to nowhere is as gone.
    (tmp_path / ".hypothesis").mkdir()
    (tmp_path / ".hypothesis" / ".tmp").symlink_to("nowhere")
    assert forked_pytest.outcomes(tmp_path, {"as it is": {}}, ["test_it.py"], environment=environ) == passes
    (tmp_path / "gone.py").symlink_to("nowhere")
    with pytest.raises(RuntimeError, match=r"before it had tested its versions: .*gone\.py"):
        forked_pytest.outcomes(tmp_path, {"as it is": {}}, ["test_it.py"], environment=environ)


def test_each_planted_fault_has_its_place_once(root):
    project = seminar_project.lay(root / "faults")
    assert len(seminar_faults.planted(project.folder)) == 1 + len(seminar_faults.FAULTS)
    broken = seminar_faults.Fault("x", "train.py", "no such text", "")
    with pytest.raises(ValueError, match="0 times"):
        seminar_faults.planted(project.folder, (broken,))


def test_the_second_scanner_turns_images_and_keeps_their_range():
    table = seminar_stream.second_scanner()
    assert table.shape == (seminar_stream.TURNED, 65)
    assert table[:, :64].min() >= 0
    assert table[:, :64].max() <= 16
    assert (
        seminar_stream.turned(seminar_stream.stream(5, False), 0) == seminar_stream.stream(5, False)
    ).all()


def test_no_image_of_the_stream_is_in_the_projects_data(root):
    kept = {
        row.tobytes() for row in seminar_project.digits()[: -seminar_project.KEPT_BACK, :64].astype("uint8")
    }
    assert not kept & {image.tobytes() for image in seminar_stream.stream(200, askew=False)}


def test_a_program_of_the_project_sees_no_settings_of_the_users_and_leaves_none(root, ours):
    environ = seminar_project.environment(root)
    for name in ("HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        assert Path(environ[name]).is_relative_to(root)
    assert "DVC_REMOTE" not in seminar_project.environment(root)
    said = ours.run("git", "config", "--list", "--show-origin").stdout
    assert all(line.startswith("file:.git/config") for line in said.splitlines())


def test_the_projects_own_files_are_formatted_and_its_tests_pass(root):
    project = seminar_project.lay(root / "style")
    assert project.run("ruff", "check", ".", check=False).returncode == 0
    assert project.run("ruff", "format", "--check", ".", check=False).returncode == 0
    environ = seminar_project.environment(root)
    told = forked_pytest.outcomes(project.folder, {"": {}}, ["tests"], trials.HEAVY, environment=environ)[""]
    assert len(told) == 16
    assert all(told.values())


def test_nothing_is_left_of_a_project_or_of_its_processes():
    with seminar_project.temporary() as folder:
        project = seminar_project.lay(folder / "a")
        with pytest.raises(seminar_project.Failed, match="ended with 3"):
            project.python("-c", "raise SystemExit(3)")
    assert not folder.exists()
    assert not [child for child in psutil.Process().children() if "consume.py" in " ".join(child.cmdline())]


def test_tests_of_the_project_are_not_collected_where_they_stand():
    line = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(WEEK / "project")]
    done = subprocess.run(line, cwd=WEEK.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 5, done.stdout


def test_figures_draw_a_line_for_each_run_and_each_feature():
    curves = {"a": [(1, 2.0), (2, 1.0)], "killed": [(1, 2.0)]}
    assert len(figures.runs(curves).axes[0].lines) == 3
    level = {"ink": ([0.0, 1.0], [0.1, 0.2]), "confidence": ([0.0, 1.0], [0.1, 1.2])}
    found = seminar_stream.Watched(images=10, fired=1.0, level=level)
    assert len(figures.drift(found, 20).axes[0].lines) == 2 + 1 + 3
