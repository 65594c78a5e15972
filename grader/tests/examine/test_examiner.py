"""Verdicts: what becomes of right, broken and awkward submissions, and of checks that break themselves."""

import json
import re
import shutil
import time

import pytest

from grader.course import Course, CourseError
from grader.examine import asking, checks
from grader.examine.examiner import Examiner, checks_of
from grader.examine.job import Job
from grader.examine.printed import CHUNKS, KEPT, WRITERS, Printed
from grader.examine.report import Report

RIGHT = """
def total(numbers):
    return sum(numbers)


def spread(numbers):
    return max(numbers) - min(numbers)
"""


@pytest.fixture
def part(sample_course):
    return Course.load(sample_course).assignment("hw1").part(1)


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "sums.py").write_text(RIGHT)
    return folder


def verdicts(report):
    return {check.name: check.verdict for check in report.checks}


def test_every_check_gets_a_verdict_and_the_points_add_up(examiner, part, work):
    seen = []
    report = examiner.examine(part, work, on_check=seen.append)
    assert set(verdicts(report).values()) == {"pass"}
    assert [check.name for check in seen] == [check.name for check in report.checks]
    assert report.points("total") == report.max_points("total") == 3
    assert report.total == 4
    assert Report.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["checks"][0]["measured"]


def test_a_file_that_was_not_handed_in_fails_its_checks_before_they_run(examiner, part, work):
    (work / "sums.py").unlink()
    part.checks_public.write_text(
        "from grader.checks import check\n@check(item='total', points=1)\ndef cost(sub):\n    '''S.'''\n"
        "    raise ZeroDivisionError\n"
    )
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert (check.verdict, check.why) == ("fail", "sums.py is missing; put it beside the notebook")


def test_hidden_checks_and_other_items_run_only_when_asked_for(examiner, part, work):
    assert set(verdicts(examiner.examine(part, work, hidden=False))) == {
        "total_adds",
        "spread_is_a_difference",
    }
    only = examiner.examine(part, work, items=["spread"])
    assert {check.item for check in only.checks} == {"spread"}


def test_the_same_work_gets_the_same_verdicts_whatever_ran_before(examiner, part, work, tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "sums.py").write_text(
        "import os, sys, builtins\nbuiltins.sum = lambda x: 0\nos.chdir('/')\n"
        "open('/tmp/left', 'w').write('x')\ndef total(n): return 0\ndef spread(n): os._exit(1)\n"
    )
    first = examiner.examine(part, work, seed=1)
    other = examiner.examine(part, hostile, seed=1)
    again = examiner.examine(part, work, seed=1)
    assert verdicts(first) == verdicts(again)
    assert [check.measured for check in first.checks] == [check.measured for check in again.checks]
    assert verdicts(other)["total_adds"] == "fail"
    assert verdicts(other)["total_of_the_empty_list_secretly"] == "pass"  # 0 is the sum of nothing


HINTED = """
from grader.checks import check, expect_equal

@check(item="total", points=1, wall=1, hint="About values.", waiting="About waiting.")
def hinted(sub):
    "S."
    expect_equal(sub.call("sums:total", [1, 2]).result, 3)
    expect_equal(sub.call("sums:spread", [1, 2]).result, 1, hint="About spreads.")
"""


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("def total(x): return 4", "About values."),
        ("def total(x): return 3\ndef spread(x): return 9", "About spreads."),
        ("def total(x): raise NotImplementedError('not implemented yet: total')", ""),
        ("def total(x): return x.sum()", ""),
        ("def total(x) return 4", ""),
        ("import threading\ndef total(x): threading.Event().wait()", "About waiting."),
        ("def total(x):\n    while True: pass", "About waiting."),
        (None, ""),
        (RIGHT, ""),
    ],
)
def test_a_hint_is_about_the_cause(examiner, part, work, code, hint):
    part.checks_public.write_text(HINTED)
    if code is None:
        (work / "sums.py").unlink()
    else:
        (work / "sums.py").write_text(code)
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert (check.verdict, check.hint) == ("pass" if code == RIGHT else "fail", hint), check.why


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("breakpoint()", "stopped at breakpoint() at sums.py, line "),
        ("input('how many? ')", "asked for input() at sums.py, line 3: nobody sits at the keyboard"),
    ],
)
def test_who_waits_for_the_keyboard_is_told_what_to_do_instead(examiner, part, work, line, says):
    (work / "sums.py").write_text(f"def total(x):\n    x = list(x)\n    {line}\n    return 6\n")
    (check,) = examiner.examine(part, work, hidden=False, items=["total"]).checks
    assert check.why.startswith(says)
    assert "print what you want to see" in check.why
    assert "grader check" not in check.why  # as a command it would need its path


PRINTS = """
import os, sys, threading

def total(x, *_):
    rank = int(os.environ.get("RANK", 0))
    if os.fork() == 0:
        print("a child of", rank, flush=True)
        os._exit(0)
    os.wait()
    for number in range(9):
        print("number", number, "of", rank)
    print("\\x1b[31mred\\u202e", file=sys.stderr)
    how = x[0]
    if how == "raises":
        raise ValueError(how)
    if how == "waits":
        threading.Event().wait()
    return how
"""


def test_the_text_that_a_check_reads_is_the_one_that_was_packed(examiner, part, work):
    """Else what is judged would not be what the verdict's key is the hash of."""
    part.checks_public.write_text(
        "from pathlib import Path\n\nfrom grader.checks import check, expect\n\n\n"
        "@check(item='total', points=1)\ndef reads(sub):\n    'S.'\n"
        f"    Path({str(work / 'sums.py')!r}).write_text('changed meanwhile')\n"
        "    expect('changed' not in sub.source('sums.py'), 'read what nobody packed')\n"
    )
    (work / "sums.py").write_text("def total(x):\n    return sum(x)\n")
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert check.verdict == "pass", check


@pytest.mark.parametrize(
    ("how", "late"), [("raises", 0), ("waits", 0), ("is wrong", 0), ("is right", 0), ("raises", 0.2)]
)
def test_a_failed_check_shows_the_last_lines_of_each_rank(examiner, part, work, monkeypatch, how, late):
    """Also where the examiner looks `late` (seconds), and several processes have written to both streams by then."""
    handle = Job._handle
    monkeypatch.setattr(Job, "_handle", lambda self, seconds: (time.sleep(late), handle(self, seconds)))
    part.checks_public.write_text(
        "from grader.checks import check, expect_equal\n@check(item='total', points=1)\ndef two(sub):\n    'S.'\n"
        f"    run = sub.ranks('sums:total', world=2, per_rank=[[{how!r}]] * 2)\n"
        "    expect_equal(run.results, ['is right'] * 2)\n"
    )
    (work / "sums.py").write_text(PRINTS)
    (check,) = examiner.examine(part, work, hidden=False).checks
    told = [
        f"rank {rank}: {text}"
        for rank in (0, 1)
        for text in (f"number 7 of {rank}", f"number 8 of {rank}", "[31mred ")
    ]
    # A child that was gone when its line was read, on a busy machine, cannot be said to be a rank's.
    said = [line.replace(" [31m", "[31m") for line in check.output if not line.startswith("a child of")]
    assert said == ([] if how == "is right" else told), check.why


def test_a_line_of_standard_error_never_overtakes_what_was_printed_before_it(
    examiner, part, work, monkeypatch
):
    """Also where the process goes on printing while the examiner reads."""
    monkeypatch.setattr(asking, "LAST_LINES", 20_000)
    (work / "sums.py").write_text(
        "import sys\n\ndef total(x):\n    for number in range(5000):\n        print('out', number, flush=True)\n"
        "        print('err', number, file=sys.stderr, flush=True)\n    raise ValueError\n"
    )
    (check,) = examiner.examine(part, work, hidden=False, items=["total"]).checks
    place = {line: number for number, line in enumerate(check.output)}
    both = [number for number in range(5000) if f"out {number}" in place and f"err {number}" in place]
    assert len(both) > 20, check.why
    assert [number for number in both if place[f"out {number}"] > place[f"err {number}"]] == []


def test_what_a_process_prints_in_small_pieces_is_kept_within_bounds():
    printed = Printed()
    for number in range(5000):
        printed._keep(4, b"%d\n" % number)
        printed._keep(5 + number, b"x" * 100)
    assert len(printed._chunks) <= WRITERS + 1
    assert max(map(len, printed._chunks.values())) <= CHUNKS
    printed._keep(4, b"y" * (2 * KEPT))
    assert sum(len(chunk) for _, chunk in printed._chunks[4]) <= KEPT
    assert printed.lines({0: 4}, 1)[0][1].endswith("y...")


def test_all_that_was_printed_is_kept_when_asked_for(examiner, part, work):
    part.checks_public.write_text(
        "from grader.checks import check\n@check(item='total', points=1)\ndef two(sub):\n    'S.'\n"
        "    for how in ('first', 'second'):\n        sub.call('sums:total', [how])\n"
    )
    (work / "sums.py").write_text(PRINTS)
    (check,) = examiner.examine(part, work, hidden=False, output=True).checks
    assert check.verdict == "pass"
    assert check.output.count("a child of 0") == check.output.count("number 0 of 0") == 2


@pytest.mark.parametrize(
    ("body", "verdict", "says"),
    [
        ("1 / 0", "error", "the check itself broke: ZeroDivisionError"),
        ("sub.call('sums:total', [1]).result['x']", "error", "the check itself broke: TypeError"),
        ("raise Undecided('too noisy')", "undecided", "too noisy"),
        ("raise CourseError('wrong')", "error", "CourseError"),
        ("not_measured('bytes', 'no counters')", "not measured", "bytes: no counters"),
        ("not_measured('bytes', 'no counters'); expect(False, 'and wrong')", "fail", "and wrong"),
    ],
)
def test_a_check_that_breaks_gives_no_points_and_stops_no_other(examiner, part, work, body, verdict, says):
    part.checks_hidden.write_text(
        "from grader.checks import Undecided, check, expect, not_measured\nfrom grader.course import CourseError\n"
        f"@check(item='total', points=1)\ndef broken(sub):\n    '''Spec.'''\n    {body}\n"
        "@check(item='spread', points=1)\ndef after(sub):\n    '''Spec.'''\n"
    )
    checks = {check.name: check for check in examiner.examine(part, work).checks}
    assert checks["broken"].verdict == verdict
    assert says in checks["broken"].why
    assert checks["broken"].points == 0
    assert checks["after"].verdict == "pass"


def test_a_check_of_an_unknown_item_is_the_authors_error(part):
    part.checks_hidden.write_text(
        "from grader.checks import check\n@check(item='nothing', points=1)\ndef lost(sub):\n    '''S.'''\n"
    )
    with pytest.raises(CourseError, match="check lost belongs to the item 'nothing'"):
        checks_of(part)


def test_two_checks_of_one_name_are_the_authors_error(part):
    shutil.copy(part.checks_public, part.checks_hidden)
    with pytest.raises(CourseError, match="two checks are named"):
        checks_of(part)


def test_an_unknown_isolation_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="isolation is 'none'"):
        Examiner("none")


REFERENCE = "def solve(x):\n    return [y * 2 for y in x]\n"

COMPARED = '''from grader.checks import check, expect_equal


@check(item="total", points=1)
def fast(sub):
    """As fast as the reference."""
    sub.compare("sums:solve", lambda: [{inputs}], against="{against}", threshold=0.01, verify={verify})
'''
NEW_INPUTS, EQUAL = "[sub.rng.integers(0, 1 << 30)]", "lambda mine, right: expect_equal(mine, right)"


@pytest.mark.parametrize(
    ("inputs", "against", "verify", "says"),
    [
        (
            NEW_INPUTS,
            "slow_hidden:sovle",
            EQUAL,
            "slow_hidden:sovle does not start: .*defines no function sovle",
        ),
        (NEW_INPUTS, "slow_hiden:solve", EQUAL, "slow_hiden.py does not lie beside the checks"),
        (NEW_INPUTS, "slow_hidden:solve", "lambda mine, right: mine == [0]", "verify returned False"),
        (NEW_INPUTS, "slow_hidden:solve", "lambda mine, right: mine == right", "verify returned True"),
        ("[7]", "slow_hidden:solve", EQUAL, "gave what it had given before 20 times in a row"),
        ("[sub.rng.integers(0, 3)]", "slow_hidden:solve", EQUAL, "so that a cache would be fast"),
    ],
)
def test_a_comparison_that_its_author_got_wrong_is_an_error_and_no_students_failure(
    examiner, part, work, inputs, against, verify, says
):
    (work / "sums.py").write_text(REFERENCE)
    (part.source / "checks" / "slow_hidden.py").write_text(REFERENCE)
    part.checks_public.write_text(COMPARED.format(inputs=inputs, against=against, verify=verify))
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert check.verdict == "error", check
    assert re.search(says, check.why)


def test_a_comparison_of_different_inputs_with_a_verify_that_raises_gets_a_verdict(examiner, part, work):
    (work / "sums.py").write_text(REFERENCE)
    (part.source / "checks" / "slow_hidden.py").write_text(REFERENCE)
    part.checks_public.write_text(
        COMPARED.format(inputs=NEW_INPUTS, against="slow_hidden:solve", verify=EQUAL)
    )
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert check.verdict == "pass", check


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return sub.call('sums:total', [1]).result == 2", "it returned False; a check raises Failed"),
        ("return True", "it returned True"),
        ("sub.call('driver:totl', [1])", "the part's driver defines no totl"),
        ("sub.call('driver:hidden_in_text', [1])", "the part's driver defines no hidden_in_text"),
    ],
)
def test_a_check_that_decides_by_what_it_returns_or_misspells_its_driver_is_an_error(
    examiner, part, work, body, says
):
    part.driver.write_text('"""hidden_in_text"""\ndef total(x):\n    return sum(x)\n')
    part.checks_public.write_text(
        f"from grader.checks import check\n@check(item='total', points=1)\ndef c(sub):\n    '''S.'''\n    {body}\n"
    )
    (check,) = examiner.examine(part, work, hidden=False).checks
    assert check.verdict == "error"
    assert says in check.why


def test_a_driver_may_bind_a_name_in_any_way_at_its_top_level():
    assert checks.binds("from sums import total as summed", "summed")
    assert checks.binds("if True:\n    def f(): pass", "f")
    assert checks.binds("f = g = lambda: 0", "g")
    assert checks.binds("from sums import *", "anything")
    assert not checks.binds("def f():\n    g = 1\n    def h(): pass", "g")


WAITS = """
import time


def total(numbers):
    while True:
        time.sleep(0.01)


def spread(numbers):
    return max(numbers) - min(numbers)
"""


def test_what_is_left_of_an_item_after_a_time_out_is_skipped_for_who_waits_and_run_for_a_grade(
    examiner, part, work
):
    (work / "sums.py").write_text(WAITS)
    quick = part.checks_public.read_text().replace("points=1,", "points=1, wall=0.5,")
    part.checks_public.write_text(quick)
    hidden = part.checks_hidden.read_text().replace("points=2", "points=2, wall=0.5")
    part.checks_hidden.write_text(hidden)
    found = {check.name: check for check in examiner.examine(part, work, skip=True).checks}
    assert "your code did not answer within" in found["total_adds"].why
    skipped = found["total_of_the_empty_list_secretly"]
    assert (skipped.verdict, skipped.points, skipped.max_points) == ("skipped", 0, 2)
    assert skipped.why == "not run, since total_adds did not end in time; mend that first"
    assert found["spread_is_a_difference"].verdict == "pass"
    graded = verdicts(examiner.examine(part, work))
    assert graded["total_of_the_empty_list_secretly"] == "fail"


def test_a_worker_in_a_sentence_to_a_student_is_never_the_graders_process(examiner, part, work):
    (work / "sums.py").write_text("import os\n\n\ndef total(numbers):\n    os._exit(3)\n")
    (check,) = examiner.examine(part, work, hidden=False, items=["total"]).checks
    assert check.why == "your code ended without an answer (exit code 3)"
