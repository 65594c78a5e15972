"""The trackers: what survives a kill, what is read back, what is found again."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from week09_experiment_tracking import killed, lecture_tables, tracker, trackers


@given(st.lists(st.floats()), st.integers(0, 40))
def test_a_log_cut_at_any_byte_gives_back_all_lines_before_the_cut(tmp_path_factory, values, cut):
    folder = tmp_path_factory.mktemp("runs")
    with tracker.Run(folder, {"seed": 1}, name="run") as run:
        for step, value in enumerate(values):
            run.log(step, loss=value)
    file = folder / "run" / "log.jsonl"
    content = file.read_bytes()
    kept = content[: max(len(content) - cut, 0)]
    file.write_bytes(kept)
    rows = tracker.read(folder / "run").metrics.get("loss", [])
    assert [step for step, _ in rows] == list(range(kept.count(b"\n")))
    assert all(tracker.same(value, values[step]) for step, value in rows)


@pytest.mark.parametrize("after", [1, 150])
def test_after_sigkill_every_acknowledged_step_is_read(tmp_path, after):
    found = killed.killed("a line, one write", str(tmp_path / "killed"), after)
    assert found["read"] >= found["acknowledged"] >= after
    assert found["in order"]


def test_a_buffered_file_loses_steps_to_sigkill(tmp_path):
    found = killed.killed("a line, print to a file", str(tmp_path / "killed"), 300)
    assert found["read"] < found["acknowledged"]


def test_a_run_that_raises_is_not_marked_as_finished(tmp_path):
    with pytest.raises(ZeroDivisionError), tracker.Run(tmp_path, {}, name="run") as run:
        run.log(0, loss=1 / 0)
    assert not tracker.read(tmp_path / "run").finished


def test_search_finds_runs_by_their_facts(tmp_path):
    for rate in (0.1, 0.2):
        with tracker.Run(tmp_path, {"config": {"lr": rate}}) as run:
            run.log(0, loss=rate)
    found = tracker.search(tmp_path, config__lr=0.2)
    assert [run.metrics["loss"] for run in found] == [[(0, 0.2)]]
    assert tracker.search(tmp_path, config__momentum=1) == []


def test_nan_is_read_back_as_nan(tmp_path):
    with tracker.Run(tmp_path, {}, name="run") as run:
        run.log(0, loss=math.nan)
    assert math.isnan(tracker.read(tmp_path / "run").metrics["loss"][0][1])


@pytest.mark.drawn(4)
def test_three_trackers_give_the_same_run_back(tmp_path):
    pytest.importorskip("wandb")
    pytest.importorskip("mlflow")
    found = lecture_tables.same_run(tmp_path, steps=300)  # more than a block of W&B's file
    assert set(found) == set(trackers.BEGIN)
    assert lecture_tables.unequal(found) == 0
    assert all(run.finished for run in found.values())
    found["mlflow"].metrics["loss"][5] = (5, 0.0)
    assert lecture_tables.unequal(found) == 1
