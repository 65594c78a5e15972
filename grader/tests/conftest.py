"""What tests share: one examiner, whose zygote imports torch once, and the smallest course that has everything."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from grader.examine.checks import Check
from grader.examine.examiner import Examiner
from grader.examine.submission import Submission
from grader.notebooks import PROGRAMS
from grader.sandbox.packed import Packed

COURSE_TOML = """
[course]
name = "Sums"
[grades]
thresholds = { A = 0.8, B = 0.5 }
[late]
penalty_per_day = 0.1
max_days = 3
grace_minutes = 10
[assignments.hw1]
title = "Adding up"
weight = 1.0
deadline = 2030-01-01T00:00:00Z
[assignments.hw1.parts.1]
title = "Sums"
notebook = "part1_sums"
files = ["sums.py"]
[assignments.hw1.parts.1.items]
total = 3
spread = 1
[assignments.hw1.parts.1.modules]
total = "sums.py"
spread = "sums.py"
[assignments.hw1.parts.1.reports]
essay = 2
plot = 1
"""

NOTEBOOK = """# Sums

Write two functions in `sums.py`.

```python
from grader.student import check
```

```python check="total" points=3
check("total")
```

```python check="spread"
check("spread")
```

What did you find?

<!-- #region report="essay" -->
The model answer: addition commutes beautifully.
<!-- #endregion -->

```python report="plot"
print("the model plot")
```
"""

SUMS = '''"""Sums."""


def total(numbers):
    """Return the sum of the numbers."""
    ### BEGIN SOLUTION
    accumulated_by_reference = 0
    for number in numbers:
        accumulated_by_reference += number
    return accumulated_by_reference
    ### END SOLUTION


def spread(numbers):
    """Return the largest less the smallest."""
    ### BEGIN SOLUTION
    return max(numbers) - min(numbers)
    ### END SOLUTION
'''

PUBLIC = '''from grader.checks import check, expect_equal


@check(item="total", points=1, hint="Start at 0.")
def total_adds(sub):
    """total adds the numbers."""
    expect_equal(sub.call("sums:total", [1, 2, 3]).result, 6, of="the sum")


@check(item="spread", points=0.5)
def spread_is_a_difference(sub):
    """spread is the largest less the smallest."""
    expect_equal(sub.call("sums:spread", [4, 1, 9]).result, 8, of="the spread")
'''

HIDDEN = '''from grader.checks import check, expect_equal


@check(item="total", points=2)
def total_of_the_empty_list_secretly(sub):
    """total of nothing is 0."""
    expect_equal(sub.call("sums:total", []).result, 0, of="the sum of nothing")


@check(item="spread", points=0.5)
def spread_of_equal_numbers_secretly(sub):
    """spread of equal numbers is 0."""
    expect_equal(sub.call("sums:spread", [5, 5]).result, 0, of="the spread of fives")
'''


WRONG = """file = "sums.py"

[total_of_nothing]
mistake = "forgets to add"
caught_by = "total_adds"
body.total = 'return 0'
"""


def write_sample_course(root: Path) -> Path:
    """Write the course to `root`/assignments, where a repository has it; return that folder."""
    course = root / "assignments"
    source = course / "source" / "hw1"
    (source / "checks").mkdir(parents=True)
    (source / "right").mkdir()
    (source / "wrong").mkdir()
    (course / "course.toml").write_text(COURSE_TOML)
    real = Path(__file__).parents[2] / "assignments" / "nbgrader_config.py"
    shutil.copy(real, course / "nbgrader_config.py")
    (source / "part1_sums.md").write_text(NOTEBOOK)
    (source / "sums.py").write_text(SUMS)
    (source / "checks" / "part1_public.py").write_text(PUBLIC)
    (source / "checks" / "part1_hidden.py").write_text(HIDDEN)
    (source / "wrong" / "sums.toml").write_text(WRONG)
    (source / "right" / "loop.py").write_text("# replaces: sums.py\n# method: a plain loop\n")
    return course


@pytest.fixture
def sample_course(tmp_path):
    """The course root of a fresh sample course, not yet released."""
    return write_sample_course(tmp_path)


RIGHT = "def total(x):\n    return sum(x)\n\n\ndef spread(x):\n    return max(x) - min(x)\n"


@pytest.fixture(scope="session")
def _released(tmp_path_factory) -> Path:
    from grader.steps.release import release

    course = write_sample_course(tmp_path_factory.mktemp("released"))
    release(course, "hw1")
    return course


@pytest.fixture
def released_course(_released, tmp_path) -> Path:
    """The course root of a sample course whose assignment hw1 is released, without submissions."""
    course = tmp_path / "assignments"
    shutil.copytree(_released, course)
    return course


@pytest.fixture
def hand_in(released_course) -> Callable[..., Path]:
    """Return a function that submits for a student: `sums.py` (None: no file), and the notebook as JSON."""

    def make(student: str, sums: str | None = RIGHT, notebook: str | bytes | None = None) -> Path:
        folder = released_course / "submitted" / student / "hw1"
        shutil.copytree(released_course / "release" / "hw1", folder)
        if sums is None:
            (folder / "sums.py").unlink()
        else:
            (folder / "sums.py").write_text(sums)
        if notebook is not None:
            data = notebook.encode() if isinstance(notebook, str) else notebook
            (folder / "part1_sums.ipynb").write_bytes(data)
        return folder

    return make


@pytest.fixture
def one_examiner(examiner, monkeypatch) -> None:
    """Let grading and nbgrader's converters use the session's examiner, so that no test waits for torch."""
    from grader.book import nbgrader_plugin
    from grader.examine import examiner as module
    from grader.sandbox import zygote as zygotes

    class Started:
        def __init__(self, *, programs: dict[str, str], modules: list[str] = (), torch: bool = True):
            assert programs.items() <= PROGRAMS.items()

        def close(self) -> None:
            """End what this grading has set; no process was started."""
            examiner.place.turns = None

    class Shared:
        def __init__(self, isolation: str, *, programs: object = None, zygote: Started | None = None):
            assert isolation in ("namespaces", "auto")
            assert zygote or programs in (None, PROGRAMS)
            self.examine, self.place = examiner.examine, examiner.place
            self.isolation, self.weakness = examiner.isolation, examiner.weakness

        def __enter__(self) -> Shared:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            """The session closes it."""

    monkeypatch.setattr(module, "Examiner", Shared)
    monkeypatch.setattr(zygotes, "Zygote", Started)
    monkeypatch.setitem(nbgrader_plugin._examiners, "namespaces", examiner)


@pytest.fixture(scope="session")
def examiner() -> Iterator[Examiner]:
    """An examiner with isolation, shared by every test that needs workers."""
    with Examiner("namespaces", programs=PROGRAMS) as examiner:
        yield examiner


@pytest.fixture
def submit(examiner: Examiner, tmp_path: Path) -> Iterator[Callable[..., Submission]]:
    """Return a function that makes a submission of one file, `work.py`, as a check would be given it."""
    opened: list[Packed] = []

    def make(
        code: str,
        *,
        wall: float = 20.0,
        memory: int = 1 << 30,
        driver: str | None = None,
        check: Callable[..., object] = lambda sub: None,
    ) -> Submission:
        folder = tmp_path / f"submission{len(opened)}"
        folder.mkdir()
        (folder / "work.py").write_text(textwrap.dedent(code))
        packed = Packed(folder, ["work.py"])
        opened.append(packed)
        declared = Check("a_check", "item", 1.0, wall, None, "", "", False, "Specification.", check)
        return Submission(examiner.place, packed, declared, driver=driver, memory=memory, seed=len(opened))

    yield make
    for packed in opened:
        packed.close()
