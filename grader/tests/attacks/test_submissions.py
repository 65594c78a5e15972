"""The fast part of the corpus against plain notebooks and against collecting, a test per attack."""

import pytest

from grader.tests.attacks import corpus, files_runner, notebook_runner
from grader.tests.attacks.__main__ import findings
from grader.tests.attacks.corpus import Attack

NOTEBOOKS = [attack for attack in corpus.load("notebooks") if attack.fast]
FILES = [attack for attack in corpus.load("files") if attack.fast]

RIGHT = '''"""Answers rightly, and is said to deserve nothing.

Must: be seen to earn what it does not deserve.
"""
FAMILY = "verdict"

# %% mean
def mean(values):
    return sum(values) / len(values) if values else 0.0
'''
BESIDE = '''"""Writes beside its folder, which only trusted code can, a file that is another student's.

Must: be seen to do it.
"""
FAMILY = "harm"


def make(folder, right):
    folder.mkdir()
    (folder.parents[2] / "outside" / "precious.txt").write_text("overwritten")
    (folder.parents[2] / "left.txt").write_text("left")
    (folder.parent / f"{folder.name}-next" / "sums.py").write_text("")
'''


def control(folder, kind, text) -> Attack:
    path = folder / "control.py"
    path.write_text(text)
    return Attack(path, kind, "verdict", "tries", "must")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory):
    attacks = [*NOTEBOOKS, control(tmp_path_factory.mktemp("control"), "notebooks", RIGHT)]
    return {outcome.attack.name: outcome for outcome in notebook_runner.run(attacks)}


@pytest.fixture(scope="module")
def files():
    return {outcome.attack.name: outcome for outcome in files_runner.run(FILES)}


@pytest.mark.parametrize("attack", NOTEBOOKS, ids=lambda attack: attack.name)
def test_the_notebook_earns_learns_and_harms_nothing(notebooks, attack):
    outcome = notebooks[attack.name]
    assert outcome.held, "; ".join(findings(outcome))


@pytest.mark.parametrize("attack", FILES, ids=lambda attack: attack.name)
def test_the_submission_earns_learns_harms_and_loses_nothing(files, attack):
    outcome = files[attack.name]
    assert outcome.held, "; ".join(findings(outcome))


def test_points_that_nobody_deserves_are_seen(notebooks):
    assert notebooks["control"].earned == 4
    assert not notebooks["control"].held


def test_a_file_beside_the_course_and_a_neighbours_loss_are_seen(tmp_path):
    (outcome,) = files_runner.run([control(tmp_path, "files", BESIDE)])
    told = "; ".join(findings(outcome))
    assert "precious.txt is changed" in told
    assert "left.txt is new" in told
    assert "a neighbour has" in told
