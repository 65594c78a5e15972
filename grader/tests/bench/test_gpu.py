"""The steps of `grader.bench.gpu`, each whole, by stand-ins for a GPU: what is left for a real one is CUDA."""

import ctypes
import json
import os
import sys

import pytest

from grader.bench import gpu as bench
from grader.examine import gpu_race
from grader.examine.cards import Cards
from grader.sandbox.lease import Locks
from grader.tests.fake_gpus import FakeGpus, build_library


def test_without_a_gpu_it_says_so_in_one_sentence_and_writes_nothing(tmp_path, monkeypatch, capsys):
    to = tmp_path / "results.json"
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "argv", ["gpu", "--to", str(to)])
    assert bench.main() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nothing was measured: ")
    assert len(said.err.splitlines()) == 1
    assert not to.exists()


@pytest.mark.drawn(4)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make device nodes")
def test_every_step_runs_and_one_that_breaks_stops_no_other(tmp_path, tmp_path_factory, monkeypatch):
    library = build_library(tmp_path_factory.mktemp("nvml"))
    ctypes.CDLL(str(library))
    fake = FakeGpus(tmp_path)
    monkeypatch.setenv("FAKE_NVML", str(fake.state))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(gpu_race, "ON", "cpu")
    monkeypatch.setattr(bench, "STARTS", 1)
    monkeypatch.setattr(bench, "BEGUN", 2.0)
    told = {**fake.options, "locks": str(tmp_path / "locks"), "on": "cpu"}
    found = bench.run(Cards(locks=Locks(tmp_path / "locks"), **fake.options), tmp_path, told)
    # A kernel of Triton runs on no processor, and says so.
    assert "broke" in found.pop("Triton")
    assert "the driver's library cannot be loaded" in found.pop("kernels as data")["broke"]
    assert {name: step["broke"] for name, step in found.items() if "broke" in step} == {}
    assert found["a worker attaches"]["largest error"] == 0
    assert found["what the sandbox has"]["nodes"] == ["nvidia-uvm", "nvidia0", "nvidiactl"]
    assert found["what the sandbox has"]["opens"]["nvidia1"] == "No such file or directory"
    # Beside other tests no verdict on time is certain; that the slower one is not faster, is.
    assert found["comparison"]["square"]["verdict"].startswith(("pass", "Undecided"))
    assert found["comparison"]["square_slowly"]["verdict"].startswith(("Failed", "Undecided"))
    assert found["a killed grader"]["begun"]
    assert found["a killed grader"]["held while it ran"]
    json.dumps(found)
