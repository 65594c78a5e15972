"""The fast part of the corpus against what surrounds the sandbox, a test per attack."""

import pytest

from grader.tests.attacks import corpus, steps_runner
from grader.tests.attacks.__main__ import findings
from grader.tests.attacks.corpus import Attack

STEPS = [attack for attack in corpus.load("steps") if attack.fast]
LOUD = '''"""Does, with the rights of a test, what no submission can: runs code, and copies the solutions.

Must: be seen to do it.
"""
FAMILY = "steps"


def make(folder, right):
    folder.mkdir(parents=True)
    open(RAN, "w").close()
    for name, text in right.items():
        (folder / name).write_text(text)
    (folder / "mine.py").write_text(open(COURSE + "/source/hw/sums.py").read())
'''


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    path = tmp_path_factory.mktemp("control") / "control.py"
    path.write_text(LOUD)
    options = {"INTO": "submitted", "SAYS": "what nobody says"}
    control = Attack(path, "steps", "steps", "tries", "must", options)
    return {outcome.attack.name: outcome for outcome in steps_runner.run([*STEPS, control])}


@pytest.mark.parametrize("attack", STEPS, ids=lambda attack: attack.name)
def test_the_attack_runs_learns_and_gains_nothing_around_the_sandbox(outcomes, attack):
    outcome = outcomes[attack.name]
    assert outcome.held, "; ".join(findings(outcome))


def test_code_that_ran_secrets_and_points_are_seen(outcomes):
    told = "; ".join(findings(outcomes["control"]))
    assert "runs code of the submission with the instructor's rights" in told
    assert "got hold of solution" in told
    assert "earned 11 where its work deserves 0" in told
    assert "nobody is told: what nobody says" in told
