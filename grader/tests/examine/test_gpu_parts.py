"""A part that asks for a GPU, from course.toml to the report: with stand-ins for GPUs, which nothing computes on."""

import ctypes
import os
from dataclasses import replace

import pytest

from grader.course import Course
from grader.examine import gpu_race
from grader.examine.cards import Cards
from grader.examine.compare import Contender
from grader.sandbox.build import SandboxError
from grader.sandbox.lease import Locks
from grader.steps.front_page import hand_in
from grader.tests.conftest import HIDDEN, PUBLIC, RIGHT
from grader.tests.fake_gpus import FakeGpus, build_library, uuid

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
SEES = """
import os


def total(x):
    return sum(x)


def spread(x):
    return [os.environ["CUDA_VISIBLE_DEVICES"], sorted(n for n in os.listdir("/dev") if "nvidia" in n)]
"""
CHECK = '''
from grader.checks import check, expect_equal


@check(item="total", points=3)
def total_adds(sub):
    """total adds."""
    expect_equal(sub.call("sums:total", [1, 2]).result, 3, of="the sum")


@check(item="spread", points=1)
def spread_sees(sub):
    """spread sees a GPU."""
    expect_equal(sub.call("sums:spread", [1]).result, SEEN, of="what is seen")


@check(item="total", points=1)
def total_is_fast(sub):
    """total is fast."""
    sub.compare("sums:total", lambda: [[1]], against="ref:total", threshold=1, verify=lambda a, b: None)
'''


COMPARED = '''
from grader.checks import check, expect_equal


def numbers(sub):
    return [sub.rng.integers(0, 1 << 40, [20]).tolist()]


def equal(result, reference):
    expect_equal(result, reference, of="the sum")


def compare(sub, moved):
    sub.compare("sums:total", lambda: numbers(sub), against="ref:total", threshold=0.01, verify=equal,
                clock="wall", least=lambda arguments: (moved * len(arguments[0]), 0))


@check(item="total", points=3)
def total_is_fast(sub):
    """total is fast."""
    compare(sub, 8)


@check(item="spread", points=1)
def total_moves_more_than_the_card_can(sub):
    """total takes its time."""
    compare(sub, 1e15)
'''


@pytest.fixture
def part(sample_course):
    toml = sample_course / "course.toml"
    asks = "\n[assignments.hw1.parts.1.machine]\ngpus = 1\n"
    toml.write_text(toml.read_text() + asks)
    checks = sample_course / "source" / "hw1" / "checks"
    (checks / "part1_hidden.py").unlink()
    nodes = ["nvidia-uvm", "nvidia0", "nvidiactl"]
    (checks / "part1_public.py").write_text(CHECK.replace("SEEN", repr([uuid(0), nodes])))
    (checks / "ref.py").write_text(RIGHT)
    return Course.load(sample_course).assignment("hw1").part(1)


@pytest.fixture
def fake(tmp_path, monkeypatch, tmp_path_factory):
    folder = tmp_path / "fake"
    folder.mkdir()
    fake = FakeGpus(folder)
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    ctypes.CDLL(str(build_library(tmp_path_factory.mktemp("nvml"))))
    return fake


def test_all_checks_of_a_part_have_one_gpu_and_give_it_back(part, examiner, fake, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "sums.py").write_text(SEES)
    cards = Cards(locks=Locks(fake.folder / "locks"), **fake.options)
    monkeypatch.setattr(examiner.place, "cards", cards)
    report = examiner.examine(part, tmp_path / "work")
    adds, sees, fast = report.checks
    assert (adds.verdict, sees.verdict, sees.why) == ("pass", "pass", "")
    # Who waits for a GPU uses no processor: the author of the check is told, not the student.
    assert fast.verdict == "error"
    assert 'clock="wall"' in fast.why
    lease = cards.locks.try_lease(uuid(0))
    assert lease is not None
    lease.close()


def test_a_part_that_asks_for_a_gpu_where_there_is_none_is_not_graded(
    part, examiner, fake, tmp_path, monkeypatch
):
    monkeypatch.setattr(examiner.place, "cards", None)
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    (tmp_path / "sums.py").write_text(SEES)
    with pytest.raises(SandboxError, match="no GPU of NVIDIA's can be used here"):
        examiner.examine(part, tmp_path)


DOUBLES = """
import triton
import triton.language as tl


@triton.jit
def doubles(x, out, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out + at, 2 * tl.load(x + at, mask=at < n), mask=at < n)
"""
LAUNCHES = '''
from grader.checks import Launch, Out, check, expect_equal


def doubled(sub):
    return Launch([sub.rng.normal((40,)), Out((40,)), 40], [1], {"BLOCK": 64})


@check(item="total", points=3)
def it_doubles(sub):
    """It doubles."""
    launch = doubled(sub)
    out = sub.launch("sums:doubles", launch)
    if out is not None:
        expect_equal(out[0], 2 * launch.arguments[0], of="the double")


@check(item="spread", points=1)
def it_is_fast(sub):
    """It is fast."""
    sub.compare_launches("sums:doubles", lambda: doubled(sub), against="ref:doubles", threshold=1,
                         verify=lambda mine, right: expect_equal(mine[0], right[0], of="the double"))
'''


def test_where_the_course_says_so_kernels_are_interpreted_without_a_gpu_and_their_speed_earns_nothing(
    part, examiner, fake, tmp_path, monkeypatch
):
    monkeypatch.setattr(examiner.place, "cards", None)
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    part.checks_public.write_text(LAUNCHES)
    (part.source / "checks" / "ref.py").write_text(DOUBLES)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "sums.py").write_text(DOUBLES)
    part = replace(part, interprets=True)
    report = examiner.examine(part, tmp_path / "work")
    assert [(one.verdict, one.points) for one in report.checks] == [("pass", 3), ("not measured", 0)]
    assert report.checks[1].why == "speed of the kernel: without a GPU kernels run in Triton's interpreter"
    course = Course.load(part.source.parents[1])
    told = hand_in(course, [replace(course.assignment("hw1"), parts={1: part})])
    assert "`grader check` runs your kernels in Triton's interpreter" in told
    assert any(
        note.startswith("kernels ran in Triton's interpreter, and nothing was timed") for note in report.notes
    )


@pytest.fixture
def on_the_processor(monkeypatch):
    """The comparison's own worker computes where it can, and what it is asked before each call is counted."""
    asked = []
    before, call = gpu_race.Referee.before, Contender.call
    monkeypatch.setattr(gpu_race, "ON", "cpu")
    monkeypatch.setattr(
        gpu_race.Referee, "before", lambda referee: (asked.append("flush"), before(referee))[1]
    )
    monkeypatch.setattr(Contender, "call", lambda side, *told: (asked.append("call"), call(side, *told))[1])
    return asked


def test_a_comparison_on_a_gpu_begins_cold_ends_above_the_floor_and_keeps_the_clocks(
    part, examiner, fake, tmp_path, monkeypatch, on_the_processor
):
    part.checks_public.write_text(COMPARED)
    reference = RIGHT.replace("sum(x)", "float(sum(x))")
    (part.source / "checks" / "ref.py").write_text(reference)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "sums.py").write_text(reference)
    monkeypatch.setattr(examiner.place, "cards", Cards(locks=Locks(fake.folder / "locks"), **fake.options))
    fast, early = examiner.examine(part, tmp_path / "work").checks
    assert fast.verdict in ("pass", "undecided"), fast.why
    measured = {one["name"]: (one["value"], one["unit"]) for one in fast.measured}
    assert measured["clock of the GPU's processors"] == ("1980 to 1980", "MHz")
    assert measured["clock of the GPU's memory"] == ("2619 to 2619", "MHz")
    assert len(on_the_processor) > 40
    assert on_the_processor == ["flush", "call"] * (len(on_the_processor) // 2)
    # Nobody, the reference included, is faster than the card: here the check's author asks too much.
    assert early.verdict == "error"
    assert "the reference failed: answered after" in early.why
    assert cards_free(examiner)


def test_a_submission_that_is_faster_than_the_card_fails(
    part, examiner, fake, tmp_path, monkeypatch, on_the_processor
):
    """It has the answer before it is asked: a reference that takes its time passes the floor, and it does not."""
    slowly = RIGHT.replace("    return sum(x)", "    import time\n    time.sleep(0.3)\n    return sum(x)")
    part.checks_public.write_text(COMPARED.replace("compare(sub, 8)", "compare(sub, 1e7)"))
    (part.source / "checks" / "ref.py").write_text(slowly)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "sums.py").write_text(RIGHT)
    monkeypatch.setattr(examiner.place, "cards", Cards(locks=Locks(fake.folder / "locks"), **fake.options))
    measure = gpu_race.Referee._ask
    bounds = {"bytes": 1e9, "operations": 1e12}
    monkeypatch.setattr(
        gpu_race.Referee,
        "_ask",
        lambda referee, what, *sizes: bounds if what == "measure" else measure(referee, what, *sizes),
    )
    report = examiner.examine(part, tmp_path / "work", names=["total_is_fast"])
    assert report.checks[0].verdict == "fail"
    assert "this GPU needs 200000 µs at least for what was asked" in report.checks[0].why


def cards_free(examiner):
    lease = examiner.place.cards.locks.try_lease(uuid(0))
    if lease is not None:
        lease.close()
    return lease is not None


def test_a_floor_without_a_gpu_is_the_author_s_mistake(submit):
    sub = submit("def run(): return 1")
    with pytest.raises(ValueError, match="least= is for a part with a GPU"):
        sub.compare(
            "work:run", list, against="x:y", threshold=1, verify=lambda a, b: None, least=lambda a: (1, 1)
        )


def test_a_student_without_a_gpu_is_told_so_and_sees_the_other_parts(
    part, fake, one_examiner, examiner, monkeypatch
):
    """`grader check` goes on; the service answers with what it can."""
    from typer.testing import CliRunner

    from grader.cli import app
    from grader.steps.serve.line import Run
    from grader.steps.serve.service import Service
    from grader.tests.steps.test_serve import zipped

    monkeypatch.setattr(examiner.place, "cards", None)
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    part.checks_public.write_text(PUBLIC)
    part.checks_hidden.write_text(HIDDEN)
    copy = fake.folder / "copy"
    started = CliRunner().invoke(app, ["start", "hw1", str(copy), "--course", str(part.source.parents[1])])
    assert started.exit_code == 0
    ran = CliRunner().invoke(app, ["check", "--in", str(copy)])
    assert ran.exit_code == 1
    assert "part 1: Sums: not checked, it needs a GPU: no GPU of NVIDIA's can be used here" in ran.output
    upload = fake.folder / "work.zip"
    upload.write_bytes(zipped({"sums.py": RIGHT}))
    service = Service(Course.load(part.source.parents[1]), b"k" * 32, examiner, jobs=1, per_hour=1, gpus=None)
    told, passed = service.examine(Run("ada", "hw1", upload, 1))
    service.close()
    assert not passed
    assert "Part 1 was not examined, it needs a GPU: no GPU of NVIDIA's can be used here" in told
