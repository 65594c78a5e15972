"""Suites of tests under test: what they see of an implementation, and which mutants they kill."""

import contextlib
from unittest.mock import ANY

import pytest

from grader.course import CourseError
from grader.examine.checks import Check, Failed, StudentError, Undecided
from grader.examine.report import CheckResult
from grader.examine.submission import Submission
from grader.examine.suite.mutants import Mutant, load_mutants
from grader.examine.suite.trial import Tried
from grader.notebooks.verdicts import as_text
from grader.sandbox.packed import Packed

RIGHT = '''
import torch

LIMIT = 3


def draw(count, seed):
    return torch.randint(100, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def add(values, more):
    """Change the dictionary in place, and return the sum."""
    if more < 0:
        raise ValueError("secret words")
    values["total"] = values.get("total", 0) + more
    print("nobody reads this")
    return {"b": values["total"], "a": torch.full((2,), float(more))}
'''
NAMES = {"shop": ["LIMIT", "draw", "add"]}
SUITE = """
import pytest
import torch
from shop import LIMIT, add, draw

def test_all():
    values = {"total": 2}
    found = add(values, 3)
    assert values == {"total": 5}
    assert found["b"] == 5 and torch.equal(found["a"], torch.tensor([3.0, 3.0]))
    assert draw(5, 1) == draw(5, 1) != draw(5, 2)
    assert LIMIT == 3

def test_refused():
    with pytest.raises(ValueError) as told:
        add({}, -1)
    assert "secret" not in str(told.value)
"""


@pytest.fixture
def suite(examiner, tmp_path):
    """Return a function that gives the suite of this text, and of these settings."""
    with contextlib.ExitStack() as stack:

        def make(text, **settings):
            (tmp_path / "test_shop.py").write_text(text)
            (tmp_path / "shop.py").write_text("SECRET = 1")
            packed = stack.enter_context(contextlib.closing(Packed(tmp_path)))
            check = Check("c", "i", 1.0, 120.0, None, "", "", False, "S.", lambda sub: None)
            sub = Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
            return sub.suite("test_shop.py", NAMES, **settings)

        yield make


def mutant(old, new, name="m"):
    assert old in RIGHT
    return Mutant(name, "shop.py", "a mistake", "sums", "none", False, {"shop.py": RIGHT.replace(old, new)})


def test_a_right_suite_passes_and_kills(suite):
    found = suite(SUITE).kills(
        {"right": {"shop.py": RIGHT}},
        [mutant("+ more", "- more", "sign"), mutant('print("nobody reads this")', "more += 0", "equivalent")],
    )
    assert [one.name for one in found.killed] == ["sign"]
    assert [one.name for one in found.survivors] == ["equivalent"]
    assert found.share() == 0.5
    assert found.about() == "sums (1)"


def test_the_implementation_is_not_the_students_own_file(suite):
    tried = suite("def test_a():\n    import shop\n    assert shop.SECRET").run({"shop.py": RIGHT})
    assert not tried.passed
    assert tried.test == "test_a"
    assert "the statement names no such thing" in tried.why


def test_an_import_may_take_longer_than_a_call_of_the_tests(suite):
    slow = "import time\ntime.sleep(1)\n" + RIGHT
    assert suite(SUITE, patience=0.5).run({"shop.py": slow}).passed


def test_a_seed_is_another_number_in_every_run(suite):
    text = "from shop import draw\ndef test_a():\n    assert draw(9, 1) == {}"
    drawn = [suite(text.format("[]")).run({"shop.py": RIGHT}).why for _ in range(2)]
    one = suite(text.format("[]"))
    again = [one.run({"shop.py": RIGHT}).why for _ in range(2)]
    assert drawn[0] == drawn[1]  # the seed of the check decides
    assert again[0] != again[1]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "pytest found no test"),
        ("import nonsense", "No module named 'nonsense'"),
        ("def test_a(:", "SyntaxError"),
        ("import os\nos._exit(0)", "the process of the tests ended"),
        ("def test_a():\n    raise SystemExit(0)", "SystemExit"),
        ("import pytest\npytest.skip('no', allow_module_level=True)", "pytest found no test"),
        ("import pytest\n@pytest.mark.skip\ndef test_a(): pass", "all that ran (1) were skipped"),
        (
            "import pytest\n@pytest.mark.parametrize('n', range(1001))\ndef test_a(n): assert n < 1000",
            "test_a[1000]: assert 1000 < 1000",
        ),
        ("def test_a():\n    print('x' * 100)\n    assert 1 == 2", "assert 1 == 2"),
    ],
)
def test_what_is_said_of_a_suite_that_does_not_pass(suite, text, why):
    tried = suite(text).run({"shop.py": RIGHT})
    assert not tried.passed
    assert why in tried.sentence


def test_a_suite_that_fails_on_a_right_implementation_is_told_on_which(suite):
    text = "from shop import add\ndef test_a():\n    assert add({}, 1)['b'] == 2"
    with pytest.raises(Failed, match=r"fails on a right implementation \(plain\). test_a: assert 1 == 2"):
        suite(text).kills({"plain": {"shop.py": RIGHT}}, [])


def test_a_suite_that_fails_on_the_students_own_package_does_not_say_that_the_test_is_wrong(suite):
    text = "from shop import add\ndef test_a():\n    assert add({}, 1)['b'] == 2"
    with pytest.raises(Failed) as told:
        suite(text).kills({"": {"shop.py": RIGHT}}, [], fails_on="the test or the package is wrong")
    assert told.value.why.startswith("the test or the package is wrong. test_a: assert 1 == 2")
    assert told.value.hint == ""  # the check's own is about mutants that survive


def test_a_suite_that_pytest_cannot_load_is_not_said_to_fail_on_an_implementation(suite):
    with pytest.raises(Failed) as told:
        suite("import nonsense").kills({"plain": {"shop.py": RIGHT}}, [])
    assert told.value.why.startswith("pytest cannot load test_shop.py: ModuleNotFoundError: No module named")
    assert told.value.expected == "a file of tests that pytest can run to its end"
    assert told.value.hint == ""


def test_what_pytest_reports_of_each_run_is_not_among_what_the_suite_prints(examiner, tmp_path):
    (tmp_path / "test_shop.py").write_text("print('mine')\ndef test_a():\n    assert 1 == 2")
    check = Check("c", "i", 1.0, 120.0, None, "", "", False, "S.", lambda sub: None)
    with contextlib.closing(Packed(tmp_path)) as packed:
        sub = Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
        assert not sub.suite("test_shop.py", NAMES).run({"shop.py": RIGHT}).passed
    assert not [line for line in sub.output if "failed" in line or "assert" in line]


def test_a_suite_that_takes_too_long_is_no_suite(suite):
    text = "import time\ndef test_a():\n    while time.process_time() < 2: pass"
    # On a busy machine its wall time is over before its processor time is too much.
    with pytest.raises(Failed, match=r"the suite takes|did not end within"):
        suite(text, wall=1).kills({"plain": {"shop.py": RIGHT}}, [])


def test_an_implementation_that_hangs_or_dies_fails_the_test_that_asked(suite):
    asks = "from shop import add\ndef test_a():\n    add({}, 1)\n"
    loops = RIGHT.replace('print("nobody', 'while True: print("nobody')
    hangs = suite(asks, patience=0.3).run({"shop.py": loops})
    assert hangs.why.startswith("Gone: shop.add took longer than ")  # whose module is nothing to students
    dies = suite(asks).run(
        {"shop.py": RIGHT.replace("print(", "import os; os._exit(print(").replace('this")', 'this") or 0)')}
    )
    assert "the implementation ended" in dies.why


def test_an_implementation_that_exits_raises_and_goes_on(suite):
    text = """
import pytest
from shop import add, draw
def test_a():
    with pytest.raises(RuntimeError):
        add({}, 1)
    assert len(draw(2, 1)) == 2
"""
    exits = RIGHT.replace('print("nobody reads this")', "raise SystemExit(0)")
    assert suite(text).run({"shop.py": exits}).passed


def test_who_asks_for_another_name_gets_no_answer(suite):
    text = """
import gc
from shop import add
def test_a():
    (one,) = (one for one in gc.get_objects() if type(one).__name__ == "Implementation")
    raise AssertionError(one.ask({"call": "shop.other", "args": [], "kwargs": {}}))
"""
    assert "the implementation ended" in suite(text).run({"shop.py": RIGHT}).why


def test_an_implementation_that_lacks_a_name_is_a_finding_of_its_own(suite):
    with pytest.raises(StudentError, match=r"cannot be tested.*draw"):
        suite(SUITE).run({"shop.py": RIGHT.replace("def draw", "def drawn")})
    with pytest.raises(StudentError, match=r"cannot be tested: WireError: a value of type set cannot cross"):
        suite(SUITE).run({"shop.py": RIGHT.replace("LIMIT = 3", "LIMIT = {3}")})


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ('file = "shop.py"\nmistake = "m"\nabout = "a"', "lacks source"),
        ('file = "no.py"\nmistake = "m"\nabout = "a"\nsource = "s"', "is none of shop.py"),
        (
            'file = "shop.py"\nmistake = "m"\nabout = "a"\nsource = "s"\nedits = [["nowhere", "x"]]',
            "does not stand there",
        ),
        ('file = "shop.py"\nmistake = "m"\nabout = "a"\nsource = "s"\nedits = []', "the same program"),
        ('file = "shop.py"\nfault = "m"', "unknown key 'fault'"),
    ],
)
def test_a_mutant_that_is_none_is_named(tmp_path, entry, why):
    path = tmp_path / "mutants.toml"
    path.write_text(f"[one]\n{entry}\n")
    with pytest.raises(CourseError, match=rf"\[one\].*{why}"):
        load_mutants(path, {"shop.py": RIGHT})


def test_what_one_check_found_out_the_next_one_reads(examiner, tmp_path):
    (tmp_path / "work.py").write_text("")
    with contextlib.closing(Packed(tmp_path)) as packed:
        check = Check("c", "i", 1.0, 60.0, None, "", "", False, "S.", lambda sub: None)
        subs = [
            Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1) for _ in range(2)
        ]
        runs = []
        assert [sub.once("a", lambda: runs.append(1) or len(runs)) for sub in subs] == [1, 1]

        def fails():
            runs.append(1)
            raise Failed("no")

        for sub in subs:
            with pytest.raises(Failed, match="no"):
                sub.once("b", fails)
        assert len(runs) == 2


def test_a_run_that_stays_undecided_is_tried_twice_and_no_more(examiner, tmp_path):
    (tmp_path / "work.py").write_text("")
    with contextlib.closing(Packed(tmp_path)) as packed:
        check = Check("c", "i", 1.0, 60.0, None, "", "", False, "S.", lambda sub: None)
        runs = []

        def sleeps():
            runs.append(1)
            raise Undecided("the time of the check was not enough")

        for _ in range(4):
            sub = Submission(examiner.place, packed, check, driver=None, memory=1 << 30, seed=1)
            with pytest.raises(Undecided, match="not enough"):
                sub.once("a", sleeps)
        assert len(runs) == 2


def test_what_a_hidden_check_tells_is_all_that_shows_of_it():
    result = CheckResult("secret", "i", 0.0, 1.0, "fail", "secret why", hidden=True, told=["about sums"])
    assert "about sums" in as_text([result])
    assert "secret" not in as_text([result])


def test_a_run_finds_imported_and_computed_what_each_of_a_hundred_would_else_begin_with(suite):
    text = """
import sys
AHEAD = {"pytest", "_pytest.python", "hypothesis", "sympy"} - sys.modules.keys()
from hypothesis.internal import charmap

def test_ahead():
    assert AHEAD == set()
    assert charmap._charmap

def test_what_it_keeps_goes_with_the_worker():
    from pathlib import Path
    from hypothesis.configuration import storage_directory
    assert storage_directory("constants").path.is_relative_to(Path.cwd())
"""
    assert suite(text).run({"shop.py": RIGHT}) == Tried(True, seconds=ANY)


@pytest.mark.parametrize(
    "where", ["one = threading.Thread(target=work)\n    one.start()\n    one.join()", "Holder()"]
)
def test_a_suite_that_takes_warnings_for_errors_fails_by_an_exception_that_nobody_could_catch(suite, where):
    """As it does at the student's, with pytest alone."""
    text = f"""
import threading
import pytest
from shop import LIMIT
pytestmark = pytest.mark.filterwarnings("error")

def work():
    assert LIMIT == 3

class Holder:
    def __del__(self):
        work()

def test_limit():
    {where}
"""
    assert suite(text).run({"shop.py": RIGHT}).passed
    found = suite(text).run({"shop.py": RIGHT.replace("LIMIT = 3", "LIMIT = 4")})
    assert (found.passed, found.test) == (False, "test_limit")
