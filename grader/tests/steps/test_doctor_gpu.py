"""What the doctor says of GPUs, by stand-ins for them."""

import ctypes
import os
from functools import partial

import pytest

from grader.examine.cards import Cards
from grader.sandbox.lease import Locks
from grader.steps import doctor
from grader.tests.fake_gpus import FakeGpus, build_library, uuid

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")


@pytest.fixture
def cards(tmp_path, monkeypatch, tmp_path_factory):
    ctypes.CDLL(str(build_library(tmp_path_factory.mktemp("nvml"))))
    fake = FakeGpus(tmp_path)
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return partial(Cards, locks=Locks(tmp_path / "locks"), **fake.options)


def test_the_doctor_says_which_gpus_can_be_graded_on_and_why_others_cannot(cards):
    cards().locks.retire(uuid(1), "it holds memory that no process owns")
    out, good, lists = doctor._gpu(cards)
    assert (out.state, out.follows) == ("no", "nothing is graded on it")
    assert "it holds memory that no process owns; it gets no more jobs until" in out.seen
    assert f"Stand-in, {uuid(0)}), 80 GiB, processors 1980 MHz, memory 2619 MHz" in good.seen
    assert good.state in ("yes", "note")
    assert lists.state in ("yes", "note")


def test_a_machine_without_a_gpu_is_told_so_in_one_sentence(cards, monkeypatch):
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    (found,) = doctor._gpu(cards)
    assert (found.name, found.state) == ("GPU", "no")
    assert found.seen == "no GPU of NVIDIA's can be used here: Driver Not Loaded"
    assert found.follows.startswith("parts with gpus = 1 are not graded here")
