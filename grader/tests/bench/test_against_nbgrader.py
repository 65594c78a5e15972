"""The comparison with stock nbgrader: that it would notice what it is there to notice."""

import pytest

from grader.bench import against_nbgrader as bench
from grader.bench import plain_notebooks, profiles, timed_notebooks
from grader.notebooks.template import grade_id, is_answer

TINY = """
```python solution="double"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
```

```python wrong="double"
def double(x):
    return x + 2
```

```python test="two"
assert double(2) == 4
```

```python test="three" points="2"
double(3) / 3
```
"""


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(timed_notebooks, "names", lambda: ["tiny"])
    monkeypatch.setattr(timed_notebooks, "load", lambda name: plain_notebooks.parse(name, TINY))


@pytest.mark.drawn(4)
def test_both_graders_give_a_tiny_class_equal_scores_and_the_table_is_written(tiny, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["--submissions", "4", "--to", str(tmp_path / "table.md")])
    assert ended.value.code == 0, capsys.readouterr().out
    page = (tmp_path / "table.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| tiny "))
    assert len(row.split("|")) == len(bench.HEAD) + 2
    assert "equal" in row


KINDS = "right", "wrong"
RIGHT = {"right": {"two": 1.0, "three": 2.0}, "wrong": {"two": 1.0, "three": 5 / 3}}


def test_a_score_that_differs_is_said_with_student_cell_and_both_values():
    assert bench.compare(RIGHT, RIGHT, KINDS) == []
    ours = {**RIGHT, "wrong": {"two": 1.0, "three": 2.0}}
    (line,) = bench.compare(RIGHT, ours, KINDS)
    assert "wrong (wrong), three" in line
    assert "ours 2.0" in line
    assert bench.compare(RIGHT, {"right": RIGHT["right"]}, KINDS) != []


def test_a_wrong_answer_that_no_test_finds_is_said_although_both_graders_agree():
    scores = {"right": {"two": 1.0}, "wrong": {"two": 1.0}}
    (line,) = bench.compare(scores, scores, KINDS)
    assert "wrong (wrong): 1 of 1 points" in line


def test_a_right_answer_that_loses_points_is_said_although_both_graders_agree():
    scores = {"right": {"two": 0.0}, "wrong": {"two": 1.0}}
    assert any("right (right): 0 of 1 points" in line for line in bench.compare(scores, scores, KINDS))


@pytest.mark.parametrize("name", timed_notebooks.names())
def test_each_solution_cell_of_a_timed_notebook_has_a_wrong_answer_and_a_test_after_it(name):
    plain = timed_notebooks.load(name)
    answers = [grade_id(cell) for cell in plain.source.cells if is_answer(cell)]
    assert answers
    assert plain.wrong.keys() == set(answers)
    assert all(plain.answers("right")[one] != plain.wrong[one] for one in answers)
    assert not any("SOLUTION" in text for text in plain.answers("right").values())
    kinds = ["answer" if is_answer(cell) else "test" for cell in plain.source.cells if grade_id(cell)]
    assert kinds[-1] == "test"


def test_a_profile_names_the_process_that_a_sample_is_of():
    ours, zygote = (
        'process 7:"python -m grader grade ps1"',
        'process 9:"python -c from grader.sandbox.zygote"',
    )
    raw = f"{ours};main (grader/cli.py:3);wait (threading.py:1) 150\n{ours};{zygote};run (cells.py:9) 50\n"
    lines = profiles.summary(raw)
    assert lines[1:3] == ["    1.50  grader", "    0.50  zygote and workers"]
    assert "    0.50  zygote and workers: run (cells.py:9)" in lines
    assert "    1.50  grader: main (grader/cli.py:3)" in lines
