"""Known differences come out as what they are, and the page keeps one table for each kind of machine."""

import itertools

import pytest
import torch

from effdl import bench
from effdl.notebook import Table
from week01_intro import instrument, ranking


@pytest.fixture
def clock(monkeypatch):
    """Time that moves only when a function says so."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    fake = Clock()
    monkeypatch.setattr(bench, "time", fake)
    return fake


def takes(clock, seconds):
    """A function that takes these seconds, one after another and again from the front."""
    durations = itertools.cycle(seconds)

    def work():
        clock.now += next(durations)

    return work


def test_a_known_difference_is_found_every_time_on_a_clock_without_noise(clock):
    found = instrument.errors(takes(clock, [1.0]), takes(clock, [1.5]), 1.5, trials=5)
    assert found == instrument.Errors(trials=5, wrong=0, undecided=0, outside=0)


def test_equal_functions_that_are_told_apart_are_errors(clock):
    found = instrument.errors(takes(clock, [1.0]), takes(clock, [1.1]), 1, trials=5)
    assert found == instrument.Errors(trials=5, wrong=5, undecided=0, outside=5)
    found = instrument.errors(takes(clock, [1.1]), takes(clock, [1.0]), 1, trials=5)
    assert (found.wrong, found.outside) == (5, 5)


def test_the_wrong_sign_is_an_error_and_an_open_question_is_not(clock):
    assert instrument.errors(takes(clock, [1.2]), takes(clock, [1.0]), 1.08, trials=3).wrong == 3
    noisy = takes(clock, [0.5, 2.0, 2.0, 0.5])
    found = instrument.errors(takes(clock, [1.0]), noisy, 1.08, trials=3)
    assert (found.wrong, found.undecided, found.outside) == (0, 3, 0)


def test_the_page_keeps_one_section_for_each_kind_of_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(instrument, "PAGE", tmp_path / "INSTRUMENT.md")
    instrument.PAGE.write_text("# Head\n\nwords\n")
    for kind, value in (("A (2 cores)", "1 %"), ("B", "2 %"), ("A (2 cores)", "3 %")):
        monkeypatch.setattr(instrument.device, "kind_label", lambda kind=kind: kind)
        instrument.write(Table(["machine", "wrong"], [["idle", value]]), trials=10)
    text = instrument.PAGE.read_text()
    assert text.startswith("# Head\n\nwords\n\n## ")
    assert text.count("## A (2 cores)\n") == text.count("## B\n") == 1
    assert "| idle | 3 % |" in text
    assert "1 %" not in text
    assert text.endswith("|\n")


def test_functions_of_known_work_share_their_memory():
    a, b = ranking.repeat_work(2, 3)
    buffers = [
        {cell.cell_contents.data_ptr() for cell in work.__closure__ if torch.is_tensor(cell.cell_contents)}
        for work in (a, b)
    ]
    assert buffers[0] == buffers[1]
    assert len(buffers[0]) == 2


def test_the_same_work_elsewhere_differs_by_the_place_of_its_results_only():
    places = ranking.same_work_elsewhere(times=1, places=4)
    tensors = [
        sorted(
            (cell.cell_contents for cell in work.__closure__ if torch.is_tensor(cell.cell_contents)),
            key=lambda tensor: tensor.data_ptr(),
        )
        for work in places
    ]
    assert {values.data_ptr() % ranking.PAGE for values, _ in tensors} == {0}
    offsets = [(out.data_ptr() - values.data_ptr()) % ranking.PAGE for values, out in tensors]
    assert offsets == [0, 128, 256, 384]
    for work, (values, out) in zip(places, tensors, strict=True):
        work()
        assert torch.equal(out, values.exp())
