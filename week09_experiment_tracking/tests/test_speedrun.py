"""The speedrun: its rules, its list, its command, and that a recipe is what the rules say."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from week09_experiment_tracking.speedrun import crossings, rules, track


def made(losses, seconds=1.0, **changes):
    runs = [track.Run(i, loss, seconds) for i, loss in enumerate(losses)]
    base = [track.Run(i, 0.05, 2.0) for i in range(len(losses))]
    return dataclasses.replace(
        rules.Record("mine", "cpu", "a machine", "2026-01-01", "2.13", runs, base), **changes
    )


GOOD = [track.TARGET - 0.01 + 0.001 * (i % 5) for i in range(20)]


def test_a_record_that_keeps_the_rules_has_no_fault():
    record = made(GOOD)
    assert record.faults() == []
    assert record.ratio()[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (made(GOOD[:19]), "20 each at least"),
        (made([track.TARGET + 0.01 * (-1) ** i for i in range(20)]), "not below"),
        (made(GOOD, track="tpu"), "none of"),
        (made(GOOD, runs=[track.Run(0, loss, 1.0) for loss in GOOD]), "twice"),
        (made([*GOOD[:-1], float("nan")]), "no finite loss"),
        (made(GOOD, seconds=0.0), "no time"),
    ],
)
def test_each_broken_rule_is_named(record, words):
    assert words in "; ".join(record.faults())


def test_a_list_with_a_false_entry_is_refused_and_a_good_one_is_kept_in_order(tmp_path):
    path = tmp_path / "records.json"
    path.write_text('{"records": []}')
    rules.add(made(GOOD), path)
    rules.add(made(GOOD, seconds=0.5, name="faster"), path)
    rules.add(made(GOOD, seconds=0.9), path)
    assert [record.name for record in rules.read(path)] == ["faster", "mine"]
    stored = json.loads(path.read_text())
    stored["records"][0]["runs"] = [[i, 1.0, 0.1] for i in range(20)]
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="not below"):
        rules.read(path)
    with pytest.raises(ValueError, match="no record"):
        rules.add(made(GOOD[:5]), path)


def test_the_committed_list_keeps_its_rules():
    assert {record.track for record in rules.read()} <= set(rules.TRACKS)


def test_p_is_small_below_the_target_and_half_at_it():
    losses = np.random.default_rng(0).normal(0, 0.01, 30)
    assert rules.p_value(track.TARGET + losses - losses.mean()) == pytest.approx(0.5)
    assert rules.p_value(track.TARGET - 0.02 + losses) < 1e-6


@pytest.mark.parametrize("name", list(track.RECIPES))
def test_a_recipe_trains_a_network_that_depends_on_its_seed_alone(name):
    torch.set_num_threads(1)
    inputs, targets, judges, answers = track.data()
    losses = [
        track.validation_loss(track.RECIPES[name](inputs, targets, seed, updates=12), judges, answers)
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] < 2.4


def test_the_first_crossing_is_the_first_and_may_be_missing():
    losses = np.array([[0.2, 0.05, 0.09, 0.01], [0.5, 0.4, 0.3, 0.2]])
    np.testing.assert_array_equal(crossings.first_below(losses, 0.05), [2 * crossings.EVERY, np.nan])


def test_mlperfs_score_drops_both_ends():
    assert crossings.mlperf(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == 3


def test_a_file_without_train_is_refused_in_words(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    with pytest.raises(ValueError, match="no function train"):
        track.load(file)


@pytest.mark.drawn(4)
def test_the_command_runs_a_students_file_and_shows_what_it_is_worth(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from week09_experiment_tracking.speedrun.track import adam_cooled\n\n\n"
        "def train(inputs, targets, seed):\n    return adam_cooled(inputs, targets, seed, updates=10)\n"
    )
    command = [sys.executable, "-m", "week09_experiment_tracking.speedrun", str(file), "--runs", "2", "--try"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mine: mean loss" in done.stdout
