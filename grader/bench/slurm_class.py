"""A class of very short submissions for a cluster: what they cost is what is around them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from grader.bench import kills
from grader.bench.against_nbgrader import ASSIGNMENT, NOTEBOOK
from grader.steps.new import TEMPLATE
from grader.steps.release import release

_TOML = f"""
[course]
name = "Sums"
[slurm]
cpus = 1
at_once = {{at_once}}
ask_every = 1
minutes = {{minutes}}
[assignments.{ASSIGNMENT}]
weight = 1.0
[assignments.{ASSIGNMENT}.parts.1]
notebook = "{NOTEBOOK}"
files = ["sums.py"]
machine = {{{{ memory = "512MiB" }}}}
[assignments.{ASSIGNMENT}.parts.1.items]
total = 2
[assignments.{ASSIGNMENT}.parts.1.modules]
total = "sums.py"
"""
_NOTEBOOK = """# Sums

```python
from grader.student import check
```

```python check="total"
check("total")
```
"""
_SUMS = '''def total(numbers):
    """Return the sum of the numbers."""
    ### BEGIN SOLUTION
    return sum(numbers)
    ### END SOLUTION
'''
_PUBLIC = '''from grader.checks import check, expect_equal


@check(item="total", points=1)
def total_adds(sub):
    """total adds the numbers."""
    expect_equal(sub.call("sums:total", [1, 2, 3]).result, 6, of="the sum")
'''
_HIDDEN = '''from grader.checks import check, expect_equal


@check(item="total", points=1)
def total_of_nothing(sub):
    """total of nothing is 0."""
    expect_equal(sub.call("sums:total", []).result, 0, of="the sum of nothing")
'''
ANSWERS = {
    "right": "def total(numbers):\n    return sum(numbers)\n",
    "wrong": "def total(numbers):\n    return 6\n",
    "broken": "def total(numbers):\n    return 1 / 0\n",
}


def build(root: Path, students: int, *, at_once: int = 4, minutes: int = 60) -> None:
    """Write and release a course at `root`, and hand in for `students`, with right and wrong answers in turn."""
    source = root / "source" / ASSIGNMENT
    (source / "checks").mkdir(parents=True)
    (root / "course.toml").write_text(_TOML.format(at_once=at_once, minutes=minutes))
    shutil.copy(TEMPLATE / "nbgrader_config.py", root)
    (source / f"{NOTEBOOK}.md").write_text(_NOTEBOOK)
    (source / "sums.py").write_text(_SUMS)
    (source / "checks" / "part1_public.py").write_text(_PUBLIC)
    (source / "checks" / "part1_hidden.py").write_text(_HIDDEN)
    release(root, ASSIGNMENT)
    answers = list(ANSWERS.values())
    for index in range(students):
        folder = root / "submitted" / f"student{index:04d}" / ASSIGNMENT
        shutil.copytree(root / "release" / ASSIGNMENT, folder)
        (folder / "sums.py").write_text(answers[index % len(answers)])


def state(root: Path) -> dict[str, Any]:
    """Return everything that a run leaves, but for times, seeds, names of runs and what was measured."""
    found = kills.state(root)
    for record in found["records"].values():
        for report in record["reports"].values():
            del report["seed"]
            for check in report["checks"]:
                del check["wall"], check["measured"]
        for keys in record["keys"].values():
            for key in keys.values():
                del key["seed"]
    return found
