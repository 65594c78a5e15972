"""Verdicts on speed: who is right gets one, who plays with the clock gains nothing, and noise gets a person."""

import itertools
import textwrap
import time

import pytest

from grader.checks import Failed, StudentError, Undecided, expect_close
from grader.course import Course
from grader.examine import compare as comparing
from grader.examine.checks import Check, gather
from grader.examine.compare import Comparison, Seconds
from grader.examine.submission import Submission
from grader.sandbox.packed import Packed

pytestmark = pytest.mark.alone

WORK = """
import torch
def smooth(x, steps):
    out = x.clone()
    for _ in range(steps):
        torch.tanh(out, out=out)
        out.mul_(1.5)
    return out
"""
BASELINE = WORK + "def solve(x): return smooth(x, 40)\n"


@pytest.fixture
def race(examiner, tmp_path):
    """Return a function that compares `work:solve` of some code with a reference of 40 steps."""
    opened = []
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "baseline.py").write_text(BASELINE)

    def run(code, *, threshold=0.8, wall=60.0, baseline="baseline:solve", **options):
        folder = tmp_path / f"work{len(opened)}"
        folder.mkdir()
        (folder / "work.py").write_text(textwrap.dedent(code))
        packed = Packed(folder, ["work.py"])
        opened.append(packed)
        check = Check("c", "i", 1.0, wall, None, "", "", False, "S.", lambda sub: None)
        sub = Submission(
            *(examiner.place, packed, check),
            driver=None,
            memory=1 << 30,
            seed=len(opened),
            references=tmp_path / "checks",
        )
        sub.compare(
            "work:solve",
            lambda: [sub.rng.normal((sub.rng.integers(60_000, 70_000),))],
            against=baseline,
            threshold=threshold,
            verify=lambda mine, reference: expect_close(
                mine, reference, atol=1e-6, why="the same operations"
            ),
            **options,
        )

    yield run
    for packed in opened:
        packed.close()


@pytest.fixture
def briefly(monkeypatch):
    """Let eight pairs pass, where it is not the verdict that is tested."""
    monkeypatch.setattr(comparing, "FAST_FROM", 8)


def steps(count):
    """Return code that does what the reference does, in the time of `count` of its steps more."""
    return WORK + f"def solve(x):\n    smooth(x, {count})\n    return smooth(x, 40)\n"


def test_as_fast_as_the_reference_is_fast_enough_for_four_fifths(race):
    race(steps(0))


def test_twice_the_work_is_not_fast_enough(race):
    with pytest.raises(Failed, match="times as fast as the reference"):
        race(steps(40))


@pytest.mark.parametrize(
    "code",
    [
        "import time\nfor name in dir(time):\n"
        "    if name.endswith(('time', 'time_ns', 'counter', 'counter_ns', 'monotonic')):\n"
        "        setattr(time, name, lambda *a: 0)\n" + steps(40),
        # Everything on two threads: as much processor time, less wall time where the machine has cores to spare.
        WORK
        + """
import threading
def solve(x):
    one = threading.Thread(target=smooth, args=(x, 40))
    one.start()
    out = smooth(x, 40)
    one.join()
    return out
""",
        # The answer first, the rest of the work after it.
        WORK
        + """
import threading
def solve(x):
    threading.Timer(0.0, smooth, (x, 40)).start()
    return smooth(x, 40)
""",
        # In a child that has left the process group and the session.
        WORK
        + """
import os
def solve(x):
    if os.fork() == 0:
        os.setsid()
        smooth(x, 40)
        os._exit(0)
    out = smooth(x, 40)
    os.wait()
    return out
""",
    ],
    ids=["patched clocks", "two threads", "after the answer", "escaped child"],
)
def test_work_counts_whoever_does_it_and_whenever(race, code):
    with pytest.raises(Failed, match="times as fast as the reference"):
        race(code)


def test_waiting_is_not_speed(race, monkeypatch):
    monkeypatch.setattr(comparing, "LOOKS", (8, 9, 10, 11, 12))
    monkeypatch.setattr(comparing, "MANY", 12)
    # It waits four times as long as it works, however long that is here: a fifth of the reference's speed.
    code = "import time\ndef solve(x):\n    begin = time.perf_counter()\n    out = smooth(x, 40)\n"
    code += "    time.sleep(max(0.2, 4 * (time.perf_counter() - begin)))\n    return out\n"
    with pytest.raises(Failed, match="wall time"):
        race(WORK + code, threshold=0.5)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "kept = []\ndef solve(x):\n    kept.append(smooth(x, 40))\n    return kept[0]\n",
            "has another shape",
        ),
        (
            "calls = []\ndef solve(x):\n    calls.append(1)\n    return smooth(x, 40) if len(calls) < 6 else x * 0\n",
            "is off by",
        ),
        (
            "calls = []\ndef solve(x):\n    calls.append(1)\n    if len(calls) == 5: raise OSError('tired')\n"
            "    return smooth(x, 40)\n",
            "raised OSError: tired",
        ),
        (
            "import os\ncalls = []\ndef solve(x):\n    calls.append(1)\n    if len(calls) == 5: os._exit(3)\n"
            "    return smooth(x, 40)\n",
            r"exit code 3",
        ),
    ],
    ids=["first answer again", "work skipped later", "raises later", "exits later"],
)
def test_one_wrong_answer_in_any_pair_fails(race, code, says):
    with pytest.raises(Failed, match=says):
        race(WORK + code, threshold=0.1)


def test_bytes_sent_before_the_question_fail(race):
    code = """
import os, struct
def solve(x):
    for descriptor in range(3, 20):
        try:
            os.write(descriptor, struct.pack("<IQ", 90, 0))
        except OSError:
            pass
    return x
"""
    with pytest.raises(StudentError):
        race(code)


def test_nothing_runs_between_two_questions(examiner, race, monkeypatch):
    # A thread counts; the examiner dawdles between the calls. Were the worker not frozen, the count would show it.
    code = (
        WORK
        + """
import threading, time
beats = []
def beat():
    while True:
        time.sleep(0.01)
        beats.append(1)
threading.Thread(target=beat, daemon=True).start()
def solve(x):
    print(len(beats), flush=True)
    return smooth(x, 40)
"""
    )
    seen, pause = [], []
    honest = comparing.Contender.call

    def dawdle(runner, arguments, deadline):
        time.sleep(pause[0] if pause else 0)
        found = honest(runner, arguments, deadline)
        seen.append(runner._job.text("stdout").split())
        # So long that what a worker may count within a call does not matter.
        pause.append(max(0.3, 10 * found[1].wall))
        return found

    monkeypatch.setattr(comparing.Contender, "call", dawdle)
    monkeypatch.setattr(comparing, "LOOKS", (4, 5, 6, 7, 8))
    monkeypatch.setattr(comparing, "FAST_FROM", 4)
    race(code, threshold=0.01, warmup=0)
    counts = [int(word) for word in max(seen, key=len)]
    assert len(counts) >= 4
    # Two pauses between two questions would be 200 beats for each second of a pause, 60 where it takes 0.3.
    assert max(after - before for before, after in itertools.pairwise(counts)) < 80 * pause[0]


def test_the_reference_is_nowhere_in_the_sandbox_of_the_submission(race):
    code = """
import os, sys
def solve(x):
    found = [name for _, _, names in os.walk("/submission") for name in names]
    raise ValueError(f"{found} {'baseline' in sys.modules}")
"""
    with pytest.raises(StudentError, match=r"raised ValueError: \['work.py'\] False"):
        race(code)


def test_a_reference_that_breaks_is_the_authors_error(race, tmp_path):
    (tmp_path / "checks" / "broken.py").write_text("def solve(x): raise KeyError('mine')\n")
    with pytest.raises(RuntimeError, match="the reference failed: raised KeyError"):
        race(steps(0), baseline="broken:solve")
    with pytest.raises(FileNotFoundError, match=r"missing\.py does not lie beside the checks"):
        race(steps(0), baseline="missing:solve")


def test_a_check_without_time_for_eight_pairs_is_undecided(race, examiner):
    # Limits are longer on a slow machine, and so must be what uses them up.
    pause = f"time.sleep({0.3 * examiner.place.stretch})"
    with pytest.raises(Undecided, match="8 are needed"):
        race(WORK + f"import time\ndef solve(x):\n    {pause}\n    return smooth(x, 40)\n", wall=1.5)


def test_a_machine_without_a_freezer_gives_no_verdict(race, monkeypatch):
    monkeypatch.setattr("grader.sandbox.cgroup.Cgroup.can_freeze", False)
    with pytest.raises(Undecided, match="cannot be frozen"):
        race(steps(0))


def pairs(ratios, cpu_ratios=None):
    reference = tuple(Seconds(1.0, 1.0) for _ in ratios)
    mine = tuple(Seconds(1 / wall, 1 / cpu) for wall, cpu in zip(ratios, cpu_ratios or ratios, strict=True))
    return Comparison(reference, mine)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.3, 1.29, 1.31, 1.32] * 5, True),
        # Too few to say that none of the calls is slow.
        ([1.3, 1.29, 1.31, 1.32] * 2, None),
        ([1.1, 1.09, 1.11, 1.12] * 2, False),
        ([1.1, 1.3, 1.15, 1.25] * 2, None),
        ([1.2] * 8, None),
        # Three pairs that a neighbour spoilt change nothing in 60; of 27, they may be the submission's own.
        ([1.3] * 57 + [0.2, 9.0, 0.1], True),
        ([1.3] * 24 + [0.2, 9.0, 0.1], None),
        # Fast in three calls of four and twenty times slower in the fourth: the median is 3, the sum 0.5.
        ([3.0, 3.0, 3.0, 0.15] * 5, None),
        ([3.0, 3.0, 3.0, 0.15] * 9, None),
        ([3.0, 3.0, 3.0, 0.15] * 15, False),
    ],
)
def test_a_verdict_falls_when_the_interval_lies_on_one_side(ratios, verdict):
    assert pairs(ratios).verdict(1.2)[0] is verdict
    assert pairs(ratios).verdict(1.2, "wall")[0] is verdict


def test_a_reference_that_is_faster_alone_leaves_the_verdict_to_a_person():
    beside, alone_ = pairs([1.5] * 20), pairs([1.0] * 8)
    comparing.judge(beside, 1.2, "cpu", pairs([1.19] * 8))  # what caches give
    with pytest.raises(
        Undecided, match=r"1\.5 times .* beside the submission's stopped processes, 1 times when"
    ):
        comparing.judge(beside, 1.2, "cpu", alone_)


def test_the_reference_is_asked_again_when_the_submission_is_gone(race, briefly, monkeypatch):
    closed, seen = [], []
    close, alone = comparing.Contender.close, comparing.alone

    def quicker(reference, asked, result, *, wall):
        seen.append((len(closed), reference in closed, len(asked)))
        found = alone(reference, asked, result, wall=wall)
        return Comparison(
            tuple(Seconds(one.wall / 4, one.cpu / 4) for one in found.reference), found.submission
        )

    monkeypatch.setattr(comparing.Contender, "close", lambda side: (close(side), closed.append(side)))
    monkeypatch.setattr(comparing, "alone", quicker)
    with pytest.raises(Undecided, match="when they were gone"):
        race(steps(0), threshold=0.7)
    assert seen == [(1, False, 8)]


def test_a_comparison_that_ends_early_says_how_many_pairs_are_needed():
    with pytest.raises(Undecided, match="enough for 11 pairs; 20 are needed"):
        comparing.judge(pairs([1.5] * 11), 1.2, "cpu")


ALLOCATES = "import torch\ndef solve(x):\n    for _ in range(120):\n        x = x + 1.0\n    return x\n"
# Freed memory stays in the process, whatever its environment said.
KEEPS_ITS_HEAP = "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mallopt(-4, 0)\nlibc.mallopt(-1, -1)\n"


def test_an_allocator_of_its_own_settings_is_no_faster_than_the_references(race, tmp_path, monkeypatch):
    monkeypatch.setattr(comparing, "LOOKS", (20,))
    (tmp_path / "checks" / "allocates.py").write_text(ALLOCATES)
    # Where the reference gave each tensor back to the kernel, 1.7 and more.
    with pytest.raises(Failed, match="times as fast as the reference"):
        race(KEEPS_ITS_HEAP + ALLOCATES, baseline="allocates:solve", threshold=1.35)


def test_a_comparison_has_no_network(race, briefly):
    code = """
import errno, socket
def refused(family):
    try:
        socket.socket(family).close()
    except PermissionError:
        return True
def solve(x):
    if not (refused(socket.AF_INET) and refused(socket.AF_INET6)):
        raise OSError("a socket")
    socket.socketpair()[0].close()
    return smooth(x, 40)
"""
    race(WORK + code, threshold=0.1)


def test_wall_time_objects_only_with_enough_pairs_behind_it():
    few, many = 8, comparing.MANY
    assert pairs([0.5] * few, [2.0] * few).verdict(1.2)[0] is None
    assert pairs([0.5] * many, [2.0] * many).verdict(1.2)[0] is False
    # It never makes a slow submission fast.
    assert pairs([2.0] * many, [0.5] * many).verdict(1.2)[0] is False


def test_more_processors_than_allowed_count_as_time():
    two = Comparison((Seconds(1.0, 1.0),) * 8, (Seconds(0.5, 1.0),) * 8)
    assert two.interval("wall").ratio == pytest.approx(1.0)
    allowed = Comparison((Seconds(1.0, 1.0),) * 8, (Seconds(0.5, 1.0),) * 8, cpus=2)
    assert allowed.interval("wall").ratio == pytest.approx(2.0)


def test_an_undecided_check_runs_once_more_and_a_second_doubt_stays(examiner, sample_course, tmp_path):
    part = Course.load(sample_course).assignment("hw1").part(1)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "sums.py").write_text("def total(x): return 0\ndef spread(x): return 0\n")
    part.checks_hidden.write_text(
        "from grader.checks import Undecided, check\nruns = []\n"
        "@check(item='total', points=1)\ndef settles(sub):\n    '''S.'''\n    runs.append(1)\n"
        "    if len(runs) == 1:\n        raise Undecided('busy')\n"
        "@check(item='spread', points=1)\ndef doubts(sub):\n    '''S.'''\n    raise Undecided('busy')\n"
    )
    report = examiner.examine(part, folder)
    verdicts = {check.name: check.verdict for check in report.checks}
    assert (verdicts["settles"], verdicts["doubts"]) == ("pass", "undecided")
    assert any("settles: ran twice" in note for note in report.notes)


def test_what_every_pair_measured_stands_once_in_the_evidence(race, briefly):
    with gather() as evidence:
        race(steps(0), threshold=0.1)
        names = [entry["name"] for entry in evidence.measured]
    assert names == ["largest error, value", "times as fast as the reference, cpu time"]
