"""The kernel's counters see what a schedule says, and other programs' bytes do not count."""

import subprocess

import pytest

from week03_data_parallel import schedules, wire


@pytest.fixture(scope="module")
def counted():
    names = ["driver", "ring", "gloo"]
    try:
        return wire.count(names, [3], nbytes=2**20)["3"]
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["driver", "ring"])
def test_each_rank_sends_what_its_schedule_says(counted, name):
    by_rank = schedules.bytes_sent(schedules.FLAT[name](3), 1.0)
    assert counted[name][:-1] == pytest.approx(by_rank.tolist(), abs=0.01)


@pytest.mark.parametrize("name", ["driver", "ring", "gloo"])
def test_the_namespace_saw_all_bytes_and_little_more(counted, name):
    payload, loopback = sum(counted[name][:-1]), counted[name][-1]
    # headers, and segments that TCP repeats on a busy machine
    assert payload <= loopback <= 1.2 * payload + 0.02


def test_a_refused_namespace_is_said_in_one_sentence(monkeypatch):
    refused = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback ...\nOSError: not permitted\n")
    monkeypatch.setattr(wire.subprocess, "run", lambda *_, **__: refused)
    with pytest.raises(OSError, match="no counting in a namespace here: OSError: not permitted"):
        wire.count(["ring"], [2])


def test_without_a_namespace_the_total_is_that_of_the_sockets(monkeypatch):
    def refuse(*_):
        raise OSError("no namespace")

    monkeypatch.setattr(wire, "count", refuse)
    monkeypatch.setattr(wire, "count_sockets", lambda *_: {"2": {"ring": [1.0, 1.5, 99.0]}})
    assert wire.count_anyhow(["ring"], [2]) == {"2": {"ring": [1.0, 1.5, 2.5]}}
