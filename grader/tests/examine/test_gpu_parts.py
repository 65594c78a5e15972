"""A part that asks for a GPU, from course.toml to the report: with stand-ins for GPUs, which nothing computes on."""

import ctypes
import os

import pytest

from grader.course import Course
from grader.examine.cards import Cards
from grader.sandbox.build import SandboxError
from grader.sandbox.lease import Locks
from grader.tests.conftest import RIGHT
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
