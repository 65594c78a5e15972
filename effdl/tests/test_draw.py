"""What `make test` runs of large families of tests: see the marker `drawn` in pyproject.toml."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILY = """
import pytest

@pytest.mark.drawn(4)
@pytest.mark.parametrize("case", range(400))
def test_case(case):
    pass

def test_of_no_family():
    pass
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the names that pytest would run where EFFDL_DRAW is as given, with this course's conftest.py."""
    folder = tmp_path_factory.mktemp("family")
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    drawn(n)\n")
    (folder / "test_family.py").write_text(FAMILY)

    def names(draw, *options):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *options]
        environment = os.environ | {"EFFDL_DRAW": draw}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return set(re.findall(r"test_family\.py::(\S+)", done.stdout))

    return names


def test_without_a_draw_every_case_runs(run):
    assert len(run("")) == 401


def test_a_draw_runs_about_one_in_four_of_the_family_and_all_that_belongs_to_none(run):
    drawn = run("a-commit")
    assert "test_of_no_family" in drawn
    assert 60 < len(drawn) < 150


def test_the_same_commit_draws_the_same_in_each_process_and_another_one_others(run):
    assert run("a-commit") == run("a-commit", "-n", "2") != run("another")


def test_make_test_draws_by_the_commit_and_make_test_all_runs_everything():
    # What make hands down to the makes that it starts would decide here too, where this runs in `make test-all`.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "DRAW"}

    def draws(target):
        command = ["make", "--dry-run", "--always-make", target]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return set(re.findall(r"^EFFDL_DRAW=(\S*) python -m pytest", done.stdout, re.MULTILINE))

    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert draws("test") == {commit.stdout.strip() or "none"}  # a download without its history has no commit
    assert draws("test-all") == {""}
