"""Tests of plain notebooks run in an interpreter of their own: same verdicts, and nothing to gain by sharing."""

import json
import os
import re
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from grader.bench import plain_notebooks
from grader.lean import nbformat
from grader.notebooks import decide as modes
from grader.notebooks import run as runner
from grader.notebooks.decide import decide, describe, prepare
from grader.notebooks.limits import NO_LIMIT
from grader.notebooks.outcomes import verdict_of, verdicts_of
from grader.notebooks.plan import isolation_notes, make_plan, runs, steps_of
from grader.notebooks.run import Executed, no_files, run_notebook, run_shared, run_split
from grader.notebooks.template import grade_id
from grader.sandbox.cgroup import Usage
from grader.sandbox.packed import Packed


def rebuilt(plain, notebook):
    """Return the template with the notebook's answers, as `grader.notebooks.rebuild` gives it."""
    rest = plain.template()
    answers = {grade_id(cell): cell for cell in notebook.cells if grade_id(cell)}
    by_id = {grade_id(cell): cell for cell in rest.cells}
    for cell in notebook.cells:
        if (identity := grade_id(cell)) and cell.metadata.nbgrader.solution:
            by_id[identity].source = answers[identity].source
    result = type(notebook)({**notebook, "cells": []})
    for cell in notebook.cells:
        result.cells.append(by_id.get(grade_id(cell), cell))
    return result


def shared_verdicts(examiner, notebook):
    """Return what the cells of a notebook come to in one interpreter, by id."""
    cells = list(filter(runs, notebook.cells))
    texts = [{"source": cell.source, "cell_id": cell.id} for cell in cells]
    ran = run_shared(examiner.place, texts, no_files(), 10.0)
    return {name: verdict for name, (verdict, _) in verdicts_of(cells, ran).items()}


class Run:
    """What the cells of a notebook came to under a plan, by id."""

    def __init__(self, examiner, plain, notebook, plan=None, wall=10.0):
        reference = rebuilt(plain, plain.source)
        self.plan = plan or make_plan(plain.template(), reference)
        notebook, files = rebuilt(plain, notebook), no_files()
        cells = list(filter(runs, notebook.cells))
        ran = run_split(examiner.place, steps_of(self.plan, notebook), self.plan, files, files, wall)
        self.verdicts = {name: verdict for name, (verdict, _) in verdicts_of(cells, ran).items()}
        self.outputs = {grade_id(cell): outputs for cell, outputs in zip(cells, ran.outputs, strict=True)}
        self.notes = ran.notes

    def text(self, name):
        return str(self.outputs[name])


# --- modes ---------------------------------------------------------------------------------------------------

MODES = {
    "classes": {"vector_equal": "shared", "stack_extended": "shared", "tree": "both"},
    "generators": {},
    "in_place": dict.fromkeys(("sorted_in_place", "board_rows", "counted", "rows_sum_to_one"), "copy-back"),
    "words": {"documented": "shared", "text": "both"},
}


@pytest.fixture(scope="module")
def planned(examiner):
    """Return a function that gives a notebook and its plan, decided once."""
    plans = {}

    def get(name):
        if name not in plans:
            plain = plain_notebooks.load(name)
            files = no_files()
            plan = decide(plain.template(), rebuilt(plain, plain.source), examiner.place, files, 20.0)
            plans[name] = plain, plan
        return plans[name]

    return get


@pytest.mark.parametrize("name", MODES)
def test_each_cell_runs_where_the_reference_has_shown_that_it_can(planned, name):
    _, plan = planned(name)
    others = {cell.id: cell.where for cell in plan.cells if cell.where not in ("student", "isolated")}
    assert others == MODES[name]
    assert all(cell.why for cell in plan.cells if cell.where == "shared")


@pytest.mark.parametrize("name", MODES)
def test_empty_and_wrong_answers_get_what_a_shared_interpreter_gives_them(planned, examiner, name):
    plain, plan = planned(name)
    for notebook in (plain.empty(), plain.answered(plain.wrong)):
        shared = shared_verdicts(examiner, rebuilt(plain, notebook))
        split = Run(examiner, plain, notebook, plan).verdicts
        assert {test: split[test] for test in plan.tests} == {test: shared[test] for test in plan.tests}


def test_a_plan_read_back_is_the_one_that_was_written(planned, tmp_path):
    _, plan = planned("in_place")
    plan.save(tmp_path / "p.json")
    assert plan.load(tmp_path / "p.json", plan.key) == plan
    assert plan.load(tmp_path / "p.json", "another:key") is None
    released = plan.key.partition(":")[0] + ":"
    assert plan.load(tmp_path / "p.json", released) == plan  # the instructor's notebook is gone


SHARED = """
```python
import inspect
import numpy as np
```

```python solution="square"
def square(n):
    ### BEGIN SOLUTION
    return n * n
    ### END SOLUTION


class Box:
    def __init__(self, content):
        self.content = content

    def __eq__(self, other):
        return self.content == other.content
```

```python test="first"
def near(a, b):
    return abs(a - b) < 1e-9
assert near(square(2), 4)
```

```python test="reads" points="2"
assert inspect.getsource(square)
assert near(square(3), 9)
```

```python test="after"
assert near(square(4), 16)
```
"""


def decided(examiner, text, **more):
    """Return the notebook that `text` describes, its reference, and the plan decided for it."""
    plain = plain_notebooks.parse("shared", text)
    reference = rebuilt(plain, plain.source)
    return plain, reference, decide(plain.template(), reference, examiner.place, no_files(), 20.0, **more)


def test_a_shared_test_may_call_a_helper_of_an_isolated_one_and_later_tests_are_still_asked(examiner):
    plain, _, plan = decided(examiner, SHARED)
    where = {name: test.where for name, test in plan.tests.items()}
    assert where == {"first": "isolated", "reads": "shared", "after": "isolated"}
    run = Run(examiner, plain, plain.source, plan)
    assert {name: run.verdicts[name] for name in where} == dict.fromkeys(where, "passed")


def test_a_helper_that_never_ends_costs_the_cell_that_calls_it_and_no_other(examiner):
    endless = "def near(a, b):\n    while type(a) is str: pass\n    return abs(a - b) < 1e-9"
    text = SHARED.replace("def near(a, b):\n    return abs(a - b) < 1e-9", endless)
    plain, _, plan = decided(examiner, text)
    answer = "def square(n): return 'x' if n == 3 else n * n\nclass Box: pass"
    run = Run(examiner, plain, plain.answered({"square": answer}), plan, wall=1.0)
    assert [run.verdicts[name] for name in ("first", "reads", "after")] == ["passed", "failed", "passed"]


def test_a_shared_test_that_fails_beside_an_isolated_helper_takes_it_along(examiner):
    same = "def near(a, b):\n    return a == b if isinstance(b, Box) else abs(a - b) < 1e-9"
    text = SHARED.replace("def near(a, b):\n    return abs(a - b) < 1e-9", same)
    text = text.replace("assert near(square(3), 9)", "assert near(Box(1), Box(1))")
    plain, reference, plan = decided(examiner, text)
    assert plan.tests["first"].where == "shared"
    assert "reads, which shares it, does not work without its near" in plan.tests["first"].why
    assert plan.lost == {}
    expected = shared_verdicts(examiner, reference)
    run = Run(examiner, plain, plain.source, plan)
    assert {name: run.verdicts[name] for name in plan.tests} == {name: expected[name] for name in plan.tests}


@pytest.mark.parametrize("text", [SHARED, "in place"], ids=["shared", "in place"])
def test_modes_are_the_same_whether_one_core_decides_them_or_several(examiner, monkeypatch, text):
    plain = plain_notebooks.load("in_place") if text == "in place" else plain_notebooks.parse("one", text)
    reference, found = rebuilt(plain, plain.source), []
    for count in (1, 2):
        monkeypatch.setattr(modes, "cores", lambda count=count: count)
        found.append(decide(plain.template(), reference, examiner.place, no_files(), 20.0))
    assert found[0] == found[1]


@pytest.mark.parametrize(("slow", "where"), [("beside others", "isolated"), ("alone too", "shared")])
def test_a_test_is_shared_for_its_time_only_where_it_is_slow_alone(examiner, monkeypatch, slow, where):
    def in_time(*args, **kwargs):
        ran = run_split(*args, **kwargs)
        if slow == "alone too" or threading.current_thread() is not threading.main_thread():
            ran.seconds = [1000.0] * len(ran.seconds)
        return ran

    monkeypatch.setattr(modes, "cores", lambda: 2)
    monkeypatch.setattr(modes, "run_split", in_time)
    _, _, plan = decided(examiner, SHARED.replace("inspect.getsource(square)", "True"))
    assert {cell.where for cell in plan.tests.values()} == {where}


def test_what_runs_at_once_lose_and_take_is_told_to_who_asked_for_them(examiner):
    def one(peak, killed):
        examiner.place.note_end(killed, Usage(0.0, peak, None, 0))
        return peak

    place, lost = examiner.place, examiner.place.lost
    place.take_peak_memory()
    assert place.together(*(partial(one, peak, peak == 3) for peak in (2, 7, 3))) == [2, 7, 3]
    assert place.lost == lost + 1
    assert place.take_peak_memory() == 7


def test_points_that_the_reference_itself_loses_are_said_at_release_and_of_each_submission(examiner):
    text = SHARED.replace("near(square(3), 9)", "near(square(3), 8)")
    _, reference, plan = decided(examiner, text)
    assert plan.lost == {"reads": "0 of 2 points (AssertionError)"}
    assert any("reads gives the reference itself 0 of 2 points" in line for line in describe("nb", plan))
    assert any("the reference itself earns 0 of 2" in note for note in isolation_notes(reference, plan))


FAILS = {
    "a module that is not here": (
        "import seaborn_of_another_machine\n",
        "",
        "ModuleNotFoundError: No module named",
    ),
    "a file that is not here": ("open('data.csv')\n", "", "FileNotFoundError"),
    "code that is none": ("def f(:\n", "", "SyntaxError"),
    "a word on stderr": ("", "import warnings; warnings.warn('an old name')\n", "stderr: "),
    "part of the points": ("", "0.5 if f() else 0\n#", "0.5 of 2 points"),
}


@pytest.mark.parametrize("case", FAILS.values(), ids=FAILS)
def test_a_reference_that_fails_its_own_test_is_named_with_what_stopped_it(examiner, case):
    before, within, said = case
    text = f'```python solution="f"\n{before}def f(): return 1\n```\n\n'
    text += f'```python test="t" points="2"\n{within}assert f() == 1\n```\n'
    _, _, plan = decided(examiner, text)
    told = describe("nb", plan)
    assert any(said in line for line in told), told
    assert any("t gives the reference itself" in line and "the reference fails it" in line for line in told)
    assert bool(before) == any(line.startswith("nb: the reference's cell f fails: ") for line in told)


EMPTY = """
```python
import numpy as np
```

```python solution="square"
def square(n):
    ### BEGIN SOLUTION
    return np.asarray(n) ** 2 if np.size(n) else np.empty(0)
    ### END SOLUTION
```

```python test="close"
assert np.allclose(square([2.0, 3.0]), [4.0, 9.0])
```

```python test="pairs"
assert all(a == b for a, b in zip(square([2.0]), [4.0]))
```

```python test="mapped"
assert all(map(lambda a, b: a == b, map(square, [2.0, 3.0]), [4.0, 9.0]))
```

```python test="nothing"
assert np.allclose(square([]), []) and square([2.0])[0] == 4.0
```
"""


LOOPS = (
    "def square(n): return (one for one in ())",
    "def square(n): raise StopIteration",
    "class Ends:\n    def __getitem__(self, place): raise IndexError\ndef square(n): return Ends()",
)


@pytest.mark.parametrize("answer", ["np.empty((0, 1))", "[]", "np.array([], dtype=object)", "()"])
def test_an_answer_of_no_elements_agrees_only_where_the_references_has_none(examiner, answer):
    plain, _, plan = decided(examiner, EMPTY)
    assert {name: cell.nothing for name, cell in plan.tests.items()} == {
        "close": False,
        "pairs": False,
        "mapped": False,
        "nothing": True,
    }
    run = Run(examiner, plain, plain.source, plan)
    assert {run.verdicts[name] for name in plan.tests} == {"passed"}
    run = Run(examiner, plain, plain.answered({"square": f"def square(n): return {answer}"}), plan)
    assert [run.verdicts[name] for name in ("close", "pairs")] == ["failed", "failed"]
    for answer in LOOPS:
        run = Run(examiner, plain, plain.answered({"square": answer}), plan)
        assert [run.verdicts[name] for name in ("pairs", "mapped")] == ["failed", "failed"]
    stub = Run(examiner, plain, plain.empty(), plan)
    assert {stub.verdicts[name] for name in plan.tests} == {"failed"}


@pytest.mark.alone
def test_what_the_reference_needs_of_memory_its_submissions_get(examiner, tmp_path, monkeypatch):
    large = SHARED.replace("return n * n", "return n * n + 0 * np.ones(60_000_000)[0]")
    plain = plain_notebooks.parse("large", large)
    (tmp_path / "source").mkdir()
    nbformat.write(plain.source, tmp_path / "source" / "large.ipynb")

    def prepared(memory=0):
        said = []
        arguments = (
            plain.template(),
            tmp_path / "source",
            tmp_path / "modes",
            [],
            lambda: examiner.place,
            20.0,
        )
        return prepare(*arguments, said.append, memory), said

    monkeypatch.setattr(modes, "MEMORY", 300 << 20)
    monkeypatch.setattr(modes, "_for_a_reference", lambda: 2 << 30)
    found, said = prepared()
    assert found.plan.lost == {}
    assert found.memory >= 2 * 480_000_000
    assert any("MiB of memory; a submission may use" in line for line in said)
    notebook = rebuilt(plain, plain.source)
    for memory, verdict in ((found.memory, "passed"), (300 << 20, "failed")):
        outputs, _ = run_notebook(
            examiner.place, notebook, tmp_path / "modes", 20.0, replace(found, memory=memory)
        )
        cells = list(filter(runs, notebook.cells))
        assert verdicts_of(cells, Executed(outputs, [], [0.0] * len(outputs)))["first"][0] == verdict
    assert prepared(1 << 30)[0].memory == 1 << 30  # what the instructor set


# --- names that tests bind ---------------------------------------------------------------------------------


NAMES = """
```python solution="f"
def f(): return 1
```

```python test="visible"
{visible}
assert f() == 1
```

```python solution="m"
m = 2
```

```python test="used"
assert m == 2
```
"""
BOUND = {
    "an import": ("import numpy as np", "m = int(np.sqrt(4))"),
    "a module that cannot be passed on": ("import pandas as pd", "m = len(pd.Series([1, 2]))"),
    "a name of a module": ("from collections import Counter as C", "m = C('aab')['a']"),
    "everything of a module": ("from math import *", "m = int(sqrt(4))"),
    "an import that may fail": (
        "try:\n    import quicker as dt\nexcept ImportError:\n    import datetime as dt",
        "m = dt.date(2, 1, 1).year",
    ),
    "a function": ("import math\ndef near(x): return math.floor(x)", "m = near(2.5)"),
    "a class": ("class Two:\n    value = 2", "m = Two().value"),
    "a number": ("step = 2", "m = step"),
    "an array": ("import numpy as np\nxs = np.arange(3) + f() - 1", "m = int(xs.max())"),
    "a table": ("import pandas as pd\ntable = pd.DataFrame({'a': [1, 2]})", "m = int(table['a'].max())"),
    "a generator of numbers": (
        "import numpy as np\nrng = np.random.default_rng(0)",
        "m = 2 if rng.random() < 1 else 0",
    ),
    "what a text names": ("step = 2", "m = int(f'{step}')"),
    "what a loop leaves": ("for step in range(3): pass", "m = step"),
}


@pytest.mark.parametrize("case", BOUND.values(), ids=BOUND)
def test_an_answer_may_use_what_a_visible_test_has_bound_whether_or_not_the_reference_does(examiner, case):
    visible, answer = case
    plain, _, plan = decided(examiner, NAMES.format(visible=visible))
    assert {cell.where for cell in plan.tests.values()} == {"isolated"}
    run = Run(examiner, plain, plain.answered({"m": answer}), plan)
    assert [run.verdicts[name] for name in plan.tests] == ["passed", "passed"], run.text("m")


def test_a_function_of_an_answer_may_use_what_the_test_that_calls_it_imports(examiner):
    plain, _, plan = decided(examiner, NAMES.format(visible="import math"))
    run = Run(examiner, plain, plain.answered({"f": "def f(): return math.floor(1.5)"}), plan)
    assert run.verdicts["visible"] == "passed", run.text("visible")


def test_what_an_answer_changes_of_a_tests_list_is_not_undone_by_the_next_cell(examiner):
    text = NAMES.format(visible="seen = [1]") + '\n```python solution="after"\npass\n```\n'
    text += '\n```python test="late"\nassert after == 2\n```\n'
    plain, _, plan = decided(examiner, text.replace("pass\n", "after = 2\n"))
    answers = {"m": "seen.append(2)\nm = 2", "after": "after = len(seen)"}
    run = Run(examiner, plain, plain.answered(answers), plan)
    assert run.verdicts["late"] == "passed", run.text("after")


AGAIN = """
```python solution="f"
### BEGIN SOLUTION
{imports}
def f(): return {use}
### END SOLUTION
```

```python test="first"
{imports}
assert f() is not None
```

```python test="second"
x = 1
### BEGIN HIDDEN TESTS
{imports}
### END HIDDEN TESTS
assert f() is not None
```

```python test="third"
assert f() is not None
```
"""


@pytest.mark.parametrize(
    ("imports", "use"),
    [
        ("import pandas as pd", "len(pd.Series([1]))"),
        ("import datetime", "datetime.date(1, 2, 3).year"),
        ("from datetime import datetime", "datetime(1, 2, 3).year"),
        ("import json, os, random", "json.dumps(os.sep) + str(random.random())"),
        ("import matplotlib.pyplot as plt", "len(plt.get_backend())"),
        ("from collections import defaultdict, namedtuple", "len(namedtuple('A', 'b')(defaultdict(int)))"),
        ("import os.path", "os.path.join('a', 'b')"),
    ],
)
def test_a_test_that_imports_again_what_answers_use_costs_no_test_its_isolation(examiner, imports, use):
    plain, _, plan = decided(examiner, AGAIN.format(imports=imports, use=use))
    assert [cell.where for cell in plan.tests.values()] == ["isolated"] * 3, describe("nb", plan)
    run = Run(examiner, plain, plain.source, plan)
    assert {run.verdicts[name] for name in plan.tests} == {"passed"}


def test_a_value_that_cannot_be_told_is_named_and_so_is_who_uses_it(examiner):
    text = """
```python solution="f"
def f(): return lock is not None
```

```python test="first"
import threading
lock = threading.Lock()
assert f()
```
"""
    _, _, plan = decided(examiner, text)
    assert plan.tests["first"].where == "shared"
    assert plan.tests["first"].why.startswith(
        "lock, which a test binds and answers use: an object of the class"
    )


HIDDEN = """
```python solution="f"
def f(x): return x
```

```python test="mixed"
plain = [1]
also = plain
def helper(): return secret
shown = f(3)
### BEGIN HIDDEN TESTS
import bisect
secret = "h1dd3n" + "-7"
plain.append(secret)
derived = secret
### END HIDDEN TESTS
```

```python test="later"
told = 5
from_hidden = helper()
```

```python test="later_still"
further = derived
innocent = 6
```

```python solution="look"
print("nothing")
```
"""
LOOK = """
found = {}
for name, value in {
    "plain": lambda: plain, "also": lambda: also, "secret": lambda: secret, "derived": lambda: derived,
    "told": lambda: told, "from_hidden": lambda: from_hidden, "further": lambda: further,
    "innocent": lambda: innocent, "bisect": lambda: bisect,
}.items():
    try: found[name] = value()
    except NameError: pass
print(found)
"""


def test_of_what_hidden_lines_bind_or_change_nothing_is_told_nor_of_what_follows_from_it(examiner):
    plain, _, plan = decided(examiner, HIDDEN)
    assert {cell.where for cell in plan.tests.values()} == {"isolated"}
    run = Run(examiner, plain, plain.answered({"look": LOOK}), plan)
    assert "{}" in run.text("look")
    # Beside a hidden value even a number is not told; in a cell of its own it is.
    alone = (
        HIDDEN.replace("told = 5\n", "")
        .replace("innocent = 6", "")
        .replace(
            '```python solution="look"', '```python test="alone"\ntold = 5\n```\n\n```python solution="look"'
        )
    )
    plain, _, plan = decided(examiner, alone)
    run = Run(examiner, plain, plain.answered({"look": LOOK}), plan)
    assert "{'told': 5}" in run.text("look")


def test_a_stranger_who_asks_for_a_name_in_quotes_or_while_it_is_tested_is_told_no_value(examiner):
    visible = "wanted = sorted([3, 1, 2])[0] + 6\nassert g() == wanted"
    text = NAMES.format(visible=visible).replace("def f(): return 1", "def f(): return 1\ndef g(): return 7")
    plain, _, plan = decided(examiner, text)
    for answer in ("return wanted", "return globals().get('wanted')"):
        cell = f"def f(): return 1\ndef g():\n    {answer}"
        run = Run(examiner, plain, plain.answered({"f": cell, "m": "m = 2"}), plan)
        assert run.verdicts["visible"] == "failed"
    look = "print([name for name in globals() if name in ('wanted', 'f')])"
    run = Run(examiner, plain, plain.answered({"m": look}), plan)
    assert "['f']" in run.text("m")


# --- attacks -------------------------------------------------------------------------------------------------

STAGE = """
```python
import numpy as np
import sys
```

```python locked="helper"
def judge(found, expected):
    assert np.allclose(found, expected), "not equal"
```

```python solution="square"
def square(n):
    ### BEGIN SOLUTION
    return n * n
    ### END SOLUTION


class Box:
    def __init__(self, content):
        self.content = content


other = 5
```

```python test="first"
canary = "c4n4ry-" + str(41 + 1)
for n in (3, 12):
    assert square(n) == n**2
assert abs(square(7) - 49) < 1e-9
```

```python test="helped"
judge(square(np.arange(4.0)), [0, 1, 4, 9])
np.testing.assert_allclose(square(np.float64(1.5)), 2.25)
```

```python test="boxed"
assert Box(3).content == 3
assert Box("expected-17").content == "expected-17"
```

```python test="named"
expected_secret = 987654321
assert other == 5
```

```python test="honest"
assert 1 + 1 == 2
```
"""
REST = """
class Box:
    def __init__(self, content): self.content = content

other = 5
"""
ATTACKS = {
    "patched helpers": """
import numpy as np, builtins
np.allclose = np.testing.assert_allclose = builtins.abs = lambda *a, **k: True
judge = lambda *a: None
def square(n): return 0""",
    "an int equal to everything": """
class Any(int):
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    __array__ = None
def square(n): return Any(0)""",
    "an object equal to everything": """
class Any:
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
    def __array__(self, *a): return self
    def __iter__(self): return iter([0, 1, 4, 9])
    def __bool__(self): return True
def square(n): return Any()""",
    "an array of objects equal to everything": """
import numpy as np
class Any:
    def __eq__(self, other): return True
    def __sub__(self, other): return 0
def square(n):
    found = np.empty(4, dtype=object)
    found[:] = [Any() for _ in range(4)]
    return found""",
    "hooks of the display and of IPython": """
import sys
ip = get_ipython()
sys.displayhook = lambda value: None
ip.showtraceback = ip._showtraceback = lambda *a, **k: None
ip.events.register("pre_run_cell", lambda info: setattr(info, "raw_cell", "1"))
ip.ast_transformers.append(type("T", (), {"visit": lambda self, node: type(node)(body=[], type_ignores=[])})())
def square(n): return 0""",
    "patched built-ins": """
import builtins
builtins.AssertionError = Warning
builtins.compile = builtins.exec = lambda *a, **k: None
def square(n): return 0""",
    "frames": """
import sys
def square(n):
    frame = sys._getframe()
    while frame:
        for names in (frame.f_globals, frame.f_locals):
            if "expected" in names: return names["expected"]
            if isinstance(names.get("n"), int): names["n"] = 0
        frame = frame.f_back
    return 0""",
    "exit": "import sys\ndef square(n): sys.exit(0)",
    "_exit": "import os\ndef square(n): os._exit(0)",
    "killed": "import os, signal\ndef square(n): os.kill(os.getpid(), signal.SIGKILL)",
    "a keyboard interrupt": "def square(n): raise KeyboardInterrupt",
    "a huge reply": "def square(n): return b'x' * (300 << 20)",
    "deep nesting": "def square(n):\n    x = []\n    for _ in range(5000): x = [x]\n    return x",
    "garbage on the socket": """
import os, socket, stat
def square(n):
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, os.urandom(4096))
        except OSError: pass
    return 0""",
    "an answer of its own on the socket": """
import os, json, stat, struct
def square(n):
    out = {"output_type": "execute_result", "data": {"text/plain": "1"}, "metadata": {}, "execution_count": 1}
    tree = json.dumps({"v": {"op": "ret", "v": 0, "out": [out]}, "b": []}).encode()
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode): os.write(fd, struct.pack("<IQ", len(tree), 0) + tree)
        except OSError: pass
    return 0""",
    "a patched worker": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("grader"):
        for key, value in list(vars(module).items()):
            if callable(value) and key in ("text_of", "_trace", "mro_of"): setattr(module, key, lambda *a: "")
def square(n): raise ValueError""",
    "a callback of callbacks": "def square(n): return (lambda: square)",
    "a class that is an array": """
class Odd:
    __module__ = "numpy"
    @property
    def __class__(self): return float
    def __float__(self): return 49.0
    __array_interface__ = {"shape": (4,), "typestr": "<f8", "data": (4096, False), "version": 3}
def square(n): return Odd()""",
}


@pytest.fixture(scope="module")
def stage():
    return plain_notebooks.parse("stage", STAGE)


def test_the_reference_passes_the_stage(examiner, stage):
    run = Run(examiner, stage, stage.source)
    assert set(run.verdicts.values()) == {"passed"}
    assert {cell.where for cell in run.plan.tests.values()} == {"isolated"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_by_way_of_a_shared_interpreter_gains_nothing(examiner, stage, attack):
    run = Run(examiner, stage, stage.answered({"square": ATTACKS[attack] + REST}), wall=3.0)
    assert (run.verdicts["first"], run.verdicts["helped"]) == ("failed", "failed")
    # What asks nothing of the student's code passes, whatever became of the student's process.
    assert run.verdicts["honest"] == "passed"


def test_a_loop_without_end_is_interrupted_and_the_cells_after_it_run(examiner, stage):
    answer = f"def square(n):\n    while True: pass\n\n{REST}"
    run = Run(examiner, stage, stage.answered({"square": answer}), wall=1.0)
    assert run.verdicts["first"] == "failed"
    assert (run.verdicts["boxed"], run.verdicts["named"]) == ("passed", "passed")


def test_a_loop_that_cannot_be_interrupted_ends_the_students_side_only(examiner, stage):
    # Inside C, where Python looks for no signal: a loop in Python may be interrupted between any two steps.
    answer = f"def square(n): return sum(iter(int, 1))\n{REST}"
    run = Run(examiner, stage, stage.answered({"square": answer}), wall=1.0)
    assert run.verdicts["first"] == run.verdicts["boxed"] == "failed"
    assert re.search(r"longer than [\d.]+ s", run.text("first"))
    assert "did not stop" in run.text("boxed")
    assert run.verdicts["honest"] == "passed"


SPY = """
seen = []
class Spy:
    content = None
    def __init__(self, content): pass
    def __eq__(self, other): seen.append(other); print("saw", other); return True
    __lt__ = __gt__ = __contains__ = __add__ = __radd__ = __sub__ = __rsub__ = __eq__
    def __bool__(self): print("asked"); return True
Box = Spy
other = Spy(0)
def square(n): return Spy(n)
"""


def test_outputs_that_a_student_made_up_cost_nobody_else_a_cell(examiner, stage):
    forge = """
import sys
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "") == "grader.notebooks.twin.workers":
        module._run_here = lambda *a: [{"output_type": object(), "text": "\\ud800", "data": {1: 2}}]
        for value in list(vars(module).values()):
            if hasattr(value, "run"): value.run = lambda *a, **k: [{"output_type": object()}]
"""
    text = (
        STAGE + '\n```python solution="last"\npass\n```\n```python test="after"\nassert square(2) == 4\n```\n'
    )
    plain = plain_notebooks.parse("stage", text)
    answer = f"{forge}\ndef square(n): return n * n\n{REST}"
    run = Run(examiner, plain, plain.answered({"square": answer}))
    assert (run.verdicts["first"], run.verdicts["after"], run.verdicts["honest"]) == ("passed",) * 3
    assert "cannot be kept" in run.text("last")


@pytest.mark.parametrize(
    "test",
    [
        "assert other == 'expected-17'",
        "assert 'expected-17' == other",
        "assert other + 'expected-17'",
        "assert 'expected-17' in other",
        "assert other < 'expected-17'",
        "assert ['expected-17'] == [other]",
        "assert max(other, 'expected-17')",
        "assert other",
        "try:\n    assert other == 'expected-17'\nexcept:\n    pass",
        "import unittest\nunittest.TestCase().assertEqual(other, 'expected-17')",
    ],
)
def test_the_expected_value_of_a_refused_comparison_is_never_shown(examiner, stage, test):
    source = STAGE.replace("assert other == 5", test)
    later = plain_notebooks.parse("stage", source + '\n```python solution="told"\nprint("told", seen)\n```\n')
    run = Run(examiner, later, later.answered({"square": SPY}))
    assert run.verdicts["named"] == "failed"
    assert "compare-in-student" in run.text("named") or "None" in run.text("named")
    assert "expected-17" not in run.text("told")
    assert "saw" not in run.text("named") + run.text("told")


def test_an_author_can_allow_a_comparison_for_one_cell(examiner):
    text = STAGE.replace('test="named"', 'test="named" tags="compare-in-student"')
    plain = plain_notebooks.parse("stage", text)
    run = Run(examiner, plain, plain.answered({"square": SPY}))
    assert run.verdicts["named"] == "passed"  # and may be forged: the report says so


def test_names_of_tests_are_not_in_the_students_interpreter(examiner, stage):
    answer = """
def square(n): return n * n
class Box:
    def __init__(self, content): self.content = content
class _Five(int): pass
other = 5
"""
    text = STAGE + '\n```python solution="look"\npass\n```\n'
    plain = plain_notebooks.parse("stage", text)
    look = "import gc\nprint([n for n in globals() if n in ('canary', 'expected_secret', 'judge')])\n"
    look += "print('found', sum('c4n4ry-' + str(42) == o for o in gc.get_objects() if type(o) is str))\n"
    look += "print(987654321 - 1 in [v for v in globals().values() if type(v) is int])"
    run = Run(examiner, plain, plain.answered({"square": answer, "look": look}))
    assert "['judge']" in run.text("look")  # an instructor's cell, which students have anyway
    assert "found 0" in run.text("look")


def test_a_student_reads_no_test_in_the_memory_of_its_process(examiner):
    text = STAGE + '\n```python solution="look"\npass\n```\n'
    plain = plain_notebooks.parse("stage", text)
    look = """
import re
found = 0
for line in open("/proc/self/maps"):
    span, mode = line.split()[:2]
    start, end = (int(x, 16) for x in span.split("-"))
    if mode.startswith("rw") and end - start < 1 << 28:
        try:
            with open("/proc/self/mem", "rb") as memory:
                memory.seek(start)
                found += len(re.findall(rb"judge\\(square\\(np.ar[a]nge", memory.read(end - start)))
        except OSError:
            pass
print("found", found)
"""
    run = Run(examiner, plain, plain.answered({"square": f"def square(n): return n\n{REST}", "look": look}))
    assert "found 0" in run.text("look")


# --- what honest notebooks need --------------------------------------------------------------------------------


def one(examiner, solution, test, **more):
    """Run one test against one solution cell; return (verdict, outputs as text)."""
    text = "```python\nimport numpy as np\nimport random\nimport torch\n```\n\n"
    text += f'```python solution="s"\n{solution}\n```\n\n'
    plain = plain_notebooks.parse("one", f'{text}```python test="t"\n{test}\n```\n')
    run = Run(examiner, plain, plain.source, **more)
    return run.verdicts["t"], run.text("t")


# A student's cell and, after the dashes, a test of it.
HONEST = """
def f(x): return x @ x.T
------
m = np.eye(3)
assert f(m).dtype == m.dtype and (f(m) == m).all()
======
def f(): return np.random.rand()
------
np.random.seed(1)
a = f()
np.random.seed(1)
assert a == np.random.rand()
======
def f(a, b=2, *, c): return a, b, c
------
assert f(1, c=[3]) == (1, 2, [3])
======
def f(g): return g(g(2))
------
assert f(lambda x: x * 5) == 50
======
def f(g): return g(2)
------
def boom(x):
    raise KeyError('no')
try:
    f(boom)
except KeyError as e:
    assert 'no' in str(e)
======
def f(n): return {n: {1, 2}, (n, 'a'): range(3)}
------
assert f(4) == {4: {1, 2}, (4, 'a'): range(3)}
======
def f():
    x = [1]
    return x, x
------
a, b = f()
assert a is b
======
class A:
    def __init__(self): self.n = 0
    def up(self): self.n += 1; return self
------
a = A()
assert a.up() is a and a.up().n == 2
======
class A:
    def __enter__(self): return self
    def __exit__(self, *e): self.left = True
------
a = A()
with a as b:
    pass
assert a.left is True
======
class A:
    def __getitem__(self, i):
        if i > 2: raise IndexError
        return i * i
------
assert list(A()) == [0, 1, 4] and A()[2] == 4
======
class A:
    v = 3
------
A.v = 7
assert A().v == 7
assert callable(A) and not callable(A())
======
def f(x): return (x ** 2).sum()
------
x = torch.ones(3, requires_grad=True)
f(x).backward()
assert x.grad.tolist() == [2, 2, 2]
======
w = torch.ones(2, requires_grad=True)
def f(x): return w * x
------
f(torch.tensor([3., 4.])).sum().backward()
assert sum(f(torch.ones(2))) == 2
======
import copy
net = torch.nn.Linear(2, 1)
------
import copy
other = copy.deepcopy(net)
other.weight.data
assert other is not net and other.in_features == 2
======
def f(m): return sum(p.numel() for p in m.parameters())
------
assert f(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())) == 9
======
def f(x): return x.mean()
------
import statistics
assert f(np.array([1, 2, 3.5])) == statistics.mean([1, 2, 3.5])
======
def f(): yield from range(3)
------
g = f()
next(g)
assert list(g) == [1, 2]
assert next(g, 'end') == 'end'
======
def f():
    print('one')
    return 2
------
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()) as o:
    f()
assert o.getvalue() == 'one\\n'
======
def f(x):
    '''Doc.'''
    return x
------
assert f.__name__ == 'f' and f.__doc__ == 'Doc.'
======
def helper(x): return 1
def f(x): return helper(x)
------
helper = lambda x: 5
assert f(0) == 5
"""


@pytest.mark.parametrize("case", HONEST.split("\n======\n"))
def test_an_isolated_test_sees_what_a_shared_one_sees(examiner, case):
    solution, _, test = case.partition("\n------\n")
    verdict, text = one(examiner, solution, test)
    assert verdict == "passed", text


@pytest.mark.parametrize(
    ("solution", "error"),
    [
        ("def f(x): raise ValueError('wrong size', x)", "ValueError"),
        ("class Mine(KeyError): pass\ndef f(x): raise Mine('no')", "Mine"),
        ("def f(x): return undefined", "NameError"),
        ("import sys\ndef f(x): print('careful', file=sys.stderr)", "stderr"),
        ("def f(x):\n    import warnings\n    warnings.warn('old')", "stderr"),
        ("g = 1", "NameError"),
    ],
)
def test_what_a_student_raises_or_warns_of_stands_in_the_tests_output(examiner, solution, error):
    verdict, text = one(examiner, solution, "f(3)")
    assert verdict == "failed"
    assert error in text
    assert "peer.py" not in text


def test_partial_credit_is_the_value_of_the_last_line(examiner):
    assert one(examiner, "def f(x): return x", "f(1) + 0.5")[0] == "1.5"


def test_a_large_array_crosses_and_one_over_the_limit_fails_with_a_sentence(examiner):
    assert (
        one(examiner, "def f(n): return np.zeros(n)", "assert f(4_000_000).nbytes == 32_000_000")[0]
        == "passed"
    )
    verdict, text = one(examiner, "def f(n): return np.zeros(n)", "f(40_000_000)")
    assert verdict == "failed"
    assert "larger than 256 MiB" in text


def test_files_of_the_submission_are_not_beside_the_tests(examiner, stage, tmp_path):
    from grader.sandbox.packed import Packed

    (tmp_path / "numpy.py").write_text("allclose = lambda *a: True")
    (tmp_path / "sitecustomize.py").write_text("import builtins; builtins.abs = lambda x: 0")
    (tmp_path / "notes.txt").write_text("mine")
    text = STAGE + '\n```python test="looks"\nimport os\nassert os.listdir(".") == []\n```\n'
    plain = plain_notebooks.parse("stage", text)
    notebook = rebuilt(plain, plain.answered({"square": "def square(n): return open('notes.txt').read()"}))
    plan = make_plan(plain.template(), rebuilt(plain, plain.source))
    files = Packed(tmp_path)
    ran = run_split(examiner.place, steps_of(plan, notebook), plan, files, no_files(), 10.0)
    cells = list(filter(runs, notebook.cells))
    verdicts = {name: verdict for name, (verdict, _) in verdicts_of(cells, ran).items()}
    assert verdicts["looks"] == "passed"
    assert verdicts["helped"] == "failed"


def test_no_process_is_left_after_a_notebook(examiner, stage):
    Run(examiner, stage, stage.answered({"square": "import os\nos.fork()\ndef square(n): return n * n"}))
    for future in list(examiner.place._closing):
        future.result(300)
    assert not list(Path("/sys/fs/cgroup").rglob(f"grader-{os.getpid()}-*"))


def test_numbers_keep_their_types(examiner):
    kinds = [np.float32(1), np.int64(2), 3, 2.5, 1j, True, np.bool_(False)]
    names = [type(value).__name__ for value in kinds]
    test = f"assert [type(x).__name__ for x in f()] == {names}"
    solution = "def f(): return [np.float32(1), np.int64(2), 3, 2.5, 1j, True, np.bool_(False)]"
    assert one(examiner, solution, test)[0] == "passed"


@pytest.mark.parametrize("limits", [[0.5, 30.0, 30.0], [0.5, NO_LIMIT, NO_LIMIT]])
def test_each_cell_has_its_own_limit_in_one_worker_and_in_two(examiner, limits):
    # jupyter/nbgrader#1463: as `timeout_func` says it, None for no limit
    plain = plain_notebooks.parse(
        "limits",
        """
```python
import time; time.sleep(30)
```
```python solution="answer"
import time; time.sleep(2)
def f(): return 1
```
```python test="test"
time.sleep(1)
assert f() == 1
```
""",
    )
    notebook = plain.answered({})
    cells = [{"source": cell.source, "cell_id": cell.id} for cell in notebook.cells]
    plan, stretch = make_plan(plain.template(), notebook), examiner.place.stretch
    limits = [limit / stretch for limit in limits[:1]] + limits[1:]
    for ran in (
        run_shared(examiner.place, cells, no_files(), limits),
        run_split(examiner.place, steps_of(plan, notebook), plan, no_files(), no_files(), limits),
    ):
        assert [bool(outputs) for outputs in ran.outputs] == [True, False, False], ran
        assert ran.seconds[0] < 20


def test_cells_share_a_namespace_and_a_death_keeps_what_was_answered(examiner):
    cells = [
        {"source": source, "cell_id": str(number)}
        for number, source in enumerate(["x = 6 * 7", "x", "import os; os._exit(3)", "print('never')"])
    ]
    ran = run_shared(examiner.place, cells, no_files(), 30.0)
    outputs = ran.outputs
    assert outputs[0] == []
    assert outputs[1][0]["data"]["text/plain"] == "42"
    assert [found[0]["output_type"] for found in outputs[2:]] == ["error", "error"]
    assert "ended without an answer" in ran.notes[0]


def test_what_all_cells_show_has_a_limit_and_what_carries_points_is_kept(examiner, monkeypatch):
    monkeypatch.setattr(runner, "MAX_SHOWN", 10_000)
    sources = ["print('x' * 6_000)"] * 3 + ["2.5", "1 / 0", "import sys; print('y' * 6_000, file=sys.stderr)"]
    cells = [{"source": source, "cell_id": f"c{index}"} for index, source in enumerate(sources)]
    ran = run_shared(examiner.place, cells, no_files(), 30.0)
    assert len(ran.outputs[0][0]["text"]) > 6_000
    assert all(len(json.dumps(outputs)) < 3_000 for outputs in ran.outputs[1:])
    assert [verdict_of(outputs) for outputs in ran.outputs[2:]] == ["passed", "2.5", "failed", "failed"]
    assert "truncated" in ran.outputs[2][-1]["text"]
    assert not ran.notes


def test_an_exception_with_a_place_in_it_shows_no_file_of_the_tests(examiner, stage, tmp_path):
    """IPython reads the line that a SyntaxError names, in whichever process it is shown."""
    (tmp_path / "answers.json").write_text("{'key': 'c4n4ry-of-a-file'}\n")
    files = Packed(tmp_path)
    raises = "raise SyntaxError('no', ('answers.json', 1, 1, 'mine', 1, 2))"
    notebook = rebuilt(stage, stage.answered({"square": f"def square(n): {raises}\n{REST}"}))
    plan = make_plan(stage.template(), rebuilt(stage, stage.source))
    ran = run_split(examiner.place, steps_of(plan, notebook), plan, no_files(), files, 10.0)
    files.close()
    assert "SyntaxError" in str(ran.outputs)
    assert "c4n4ry-of" not in str(ran.outputs)


TOWER = """
```python locked="tower"
class Tower:
    limit = 10

    def __init__(self, sizes):
        self.sizes = sizes

    def stands(self):
        return self.sizes == sorted(self.sizes) and len(self.sizes) < self.limit
```

```python solution="build"
def build(sizes):
    ### BEGIN SOLUTION
    tower = Tower(sorted(sizes))
    tower.limit = 5
    return tower
    ### END SOLUTION
```

```python test="stands"
assert build([3, 1, 2]).stands() and build([3, 1]).sizes == [1, 3] and build([]).limit == 5
```

```python test="method"
assert build([3, 1, 2]).stands()
```
"""


def test_an_object_of_the_instructors_class_keeps_the_methods_of_its_class(examiner):
    plain, _, plan = decided(examiner, TOWER)
    assert {cell.where for cell in plan.tests.values()} == {"isolated"}
    run = Run(examiner, plain, plain.source, plan)
    assert {run.verdicts[name] for name in plan.tests} == {"passed"}
    answer = "def build(sizes):\n    tower = Tower(sizes)\n    tower.stands = lambda: True\n    return tower"
    run = Run(examiner, plain, plain.answered({"build": answer}), plan)
    assert [run.verdicts[name] for name in plan.tests] == ["failed", "failed"]


FAULTS = """
import resource
import numpy as np

def faults(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        [np.ones(1 << 17) for _ in range(8)]  # of a megabyte each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(3)
print(faults(50))
"""


def test_arrays_of_a_megabyte_are_not_taken_from_the_kernel_again_and_again(examiner):
    ran = run_shared(examiner.place, [{"source": FAULTS, "cell_id": "a"}], no_files(), 20.0)
    assert int(ran.outputs[0][0]["text"]) < 50


LAZY = """
```python
import wave
```

```python solution="f"
def f():
    ### BEGIN SOLUTION
    return 1
    ### END SOLUTION
```

```python test="t"
import colorsys
assert f() == 1
```
"""


def test_a_notebook_whose_modules_another_one_has_had_imported_keeps_them_for_another_day(examiner):
    plans = [decided(examiner, LAZY + f"# {number}")[2] for number in range(2)]
    assert all({"wave", "colorsys"} <= {*plan.modules} for plan in plans), [plan.modules for plan in plans]
    assert not any(name.startswith("grader") for plan in plans for name in plan.modules)
