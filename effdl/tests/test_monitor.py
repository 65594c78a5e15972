"""Runs that are bound by one thing on purpose, and what the monitor says of them."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import psutil
import pytest

from effdl import monitor, monitor_sampler
from effdl.quiet import cores

PROGRAMS = Path(__file__).with_name("monitored.py")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process waits for")


def watched(name, *arguments, seconds=1.5):
    """A program of `monitored.py`, recorded from when it is ready for a second, or until it ends.

    Returns the run and the share of its time in which the program says that it waited.
    """
    command = [sys.executable, str(PROGRAMS), name, str(seconds), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout.readline() == "ready\n"
        with monitor.record(0.05, program.pid) as run, contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(1.0)
        return run, float(program.stdout.read())


def assert_bound(run, expected):
    """The verdict is as expected; where other programs, or other guests of the host, disturbed the run, skip."""
    verdict, shares = run.verdict(), run.shares()
    used, wanted = shares["main"] + shares["children"], shares["main wants"] + shares["children want"]
    disturbed = shares["machine"] - used > 0.3 or wanted - used > 0.2 or shares["steal"] > 0.05
    if verdict.bound != expected and disturbed:
        pytest.skip(f"this machine has no time for the test: {verdict}")
    assert verdict.bound == expected, f"{verdict} {shares}"


def disk_is_shared(shares):
    """Others move more bytes at the disk than the program, or it waits for a core: then the disk may not show."""
    moved = shares["read"] + shares["written"]
    return shares["disk bytes"] > 2 * moved or shares["main wants"] > shares["main"] + 0.2


def samplers():
    """The monitor's samplers that run below this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # another test's child that has just ended
            found += [child] if "effdl.monitor_sampler" in child.cmdline() else []
    return found


def test_the_monitor_is_loaded_without_torch_so_that_it_starts_at_once():
    code = "import sys, effdl.monitor; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@on_linux
@pytest.mark.alone
def test_a_spinning_loop_is_bound_by_one_process():
    run, _ = watched("spin")
    assert_bound(run, "one core" if cores() > 1 else "all cores")
    assert 0.8 <= run.shares()["main wants"] <= 1.3
    assert "busy" in str(run)


@on_linux
@pytest.mark.alone
def test_threads_on_all_cores_are_bound_by_all_cores():
    run, _ = watched("hash_everywhere")
    assert_bound(run, "all cores")


@on_linux
@pytest.mark.alone
def test_sleep_is_waiting_for_a_timer():
    run, _ = watched("sleep")
    assert_bound(run, "waiting")
    assert next(iter(run.waits_in()), "never seen asleep") == "a timer"


@on_linux
@pytest.mark.alone
def test_synced_writes_are_bound_by_the_disk_where_it_makes_a_program_wait(tmp_path):
    run, waited = watched("write", tmp_path / "file")
    shares = run.shares()
    if shares["written"] < 1e5 or waited < 0.7 or disk_is_shared(shares):
        pytest.skip("this folder is in memory, its disk is never waited for, or the machine is busy")
    assert_bound(run, "disk")


@on_linux
@pytest.mark.alone
def test_reads_past_the_page_cache_are_bound_by_the_disk_where_it_makes_a_program_wait(tmp_path):
    run, waited = watched("read", tmp_path / "file")
    shares = run.shares()
    if shares["read"] < 1e5 or waited < 0.5 or disk_is_shared(shares):
        pytest.skip("this folder is in memory, its disk is never waited for, or the machine is busy")
    assert_bound(run, "disk")
    assert sum(run.rate("read")) > 0


@on_linux
@pytest.mark.alone
def test_a_slow_sender_makes_a_receiver_bound_by_the_network():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(bytes(200_000))
                    time.sleep(0.02)

        threading.Thread(target=serve, daemon=True).start()
        run, _ = watched("receive", server.getsockname()[1])
    assert_bound(run, "network")
    assert run.shares()["loopback"] > 1e6


@on_linux
@pytest.mark.alone
def test_a_consumer_behind_a_slow_worker_is_bound_by_its_worker():
    run, _ = watched("starve")
    assert_bound(run, "workers")


@on_linux
@pytest.mark.alone
def test_processes_shorter_than_a_sample_count_when_their_parent_has_waited_for_them():
    run, _ = watched("children")
    assert_bound(run, "workers")
    assert run.shares()["children"] > 3 * run.shares()["main"]


@on_linux
@pytest.mark.alone
def test_the_sampler_needs_a_small_share_of_one_core():
    with monitor.record(0.1) as run:
        time.sleep(1.5)
    assert 0 < run.own_cost < 0.25


def test_the_sampler_does_not_count_itself():
    with monitor.record(0.05) as run:
        [sampler] = samplers()
        time.sleep(0.2)
    assert all(os.getpid() in sample["processes"] for sample in run.samples)
    assert all(sampler.pid not in sample["processes"] for sample in run.samples)


def test_a_run_is_drawn_and_its_series_are_equally_long():
    with monitor.record(0.02) as run:
        assert str(run) == "nothing was recorded yet, or the run was too short"
        with pytest.raises(ValueError, match="nothing was recorded"):
            run.shares()
        time.sleep(0.5)
    count = len(run.times)
    assert count >= 2
    series = [run.processor(who) for who in ("main", "children", "all")]
    series += [run.core(0, what) for what in ("busy", "user", "iowait", "steal")]
    series += [run.memory(what) for what in ("rss", "pss", "cgroup", "available")]
    series += [run.rate(what) for what in ("read", "written", "sent", "received", "loopback")]
    series += [run.gpu(), run.gpu("memory")]
    assert {len(values) for values in series} == {count}
    assert all(value >= 0 for values in series for value in values)
    assert max(run.memory("rss")) > 10e6
    figure = run.draw()
    assert [ax.get_ylabel() for ax in figure.axes][:3] == ["cores", "MB", "MB/s"]


def test_the_recording_ends_when_the_block_raises_and_no_sampler_stays():
    with pytest.raises(KeyError), monitor.record(0.05) as run:
        raise KeyError
    assert len(run.samples) >= 1
    assert not samplers()


def test_a_process_that_ends_early_is_recorded_up_to_its_end():
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(0.5)"]) as program,
        monitor.record(0.05, program.pid) as run,
    ):
        program.wait()
        time.sleep(0.3)
    assert run.samples
    assert all(program.pid in sample["processes"] for sample in run.samples)
    assert run.seconds < 60


def test_without_proc_psutil_gives_processors_and_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(monitor_sampler, "PROC", tmp_path)
    seen = monitor_sampler._process(os.getpid())
    assert seen["user"] > 0
    assert seen["rss"] > 1e6
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in monitor_sampler._tree(os.getpid())
        child.communicate(b"\n")
    assert monitor_sampler._cgroup() is None
    assert monitor_sampler._pss([os.getpid()]) == 0


@pytest.mark.parametrize(
    ("quota", "expected"), [("150000 100000", 2), ("30000 100000", 1), ("max 100000", 8), ("-1 100000", 8)]
)
def test_a_quota_of_the_container_limits_the_cores(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(monitor_sampler, "_group_files", lambda controller, names: (Path("cpu.max"),))
    monkeypatch.setattr(monitor_sampler, "_read", lambda path: quota)
    assert monitor_sampler.allowed(1) == expected


def test_an_impossible_interval_is_refused():
    with pytest.raises(ValueError, match="every=0"), monitor.record(0):
        pass


def test_around_a_command_the_status_is_the_commands_own_and_the_sentence_is_printed(tmp_path):
    command = [sys.executable, "-m", "effdl.monitor", "--every", "0.05", "--draw", str(tmp_path / "run.png")]
    # Long enough for the sampler to start meanwhile, on a busy machine too.
    command += [sys.executable, "-c", "import sys, time; time.sleep(3); sys.exit(3)"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("Bound by ")
    assert (tmp_path / "run.png").stat().st_size > 1000


def test_a_command_that_ends_at_once_is_no_error():
    command = [sys.executable, "-m", "effdl.monitor", "--draw", "never.png", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_a_command_that_is_missing_is_asked_for(capsys):
    assert monitor.main([]) == 2
    assert capsys.readouterr().err.endswith("effdl.monitor [--every SECONDS] [--draw FILE.png] COMMAND...\n")


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--every", "x", "true"], 2, "--every x: give the seconds"),
        (["--every", "0", "true"], 2, "--every 0: give the seconds"),
        (["no-such-program"], 127, "no-such-program: No such file or directory; name a program"),
    ],
)
def test_a_command_line_that_cannot_run_gets_one_sentence(capsys, arguments, status, says):
    assert monitor.main(arguments) == status
    assert capsys.readouterr().err.startswith(says)


def test_pss_of_a_large_process_is_not_read_so_often_that_it_costs(monkeypatch, capsys):
    clock, reads = [0.0], []
    monkeypatch.setattr(monitor_sampler.time, "monotonic", lambda: clock[0])

    def slow(_):
        reads.append(clock[0])
        clock[0] += 0.1  # as for a gigabyte
        return 1

    def wait(*_):
        clock[0] += 0.5
        return [sys.stdin] if clock[0] > 30 else [], [], []

    monkeypatch.setattr(monitor_sampler, "_pss", slow)
    monkeypatch.setattr(monitor_sampler.select, "select", wait)
    monitor_sampler.sample_until_told(os.getpid(), 0.5)
    assert len(capsys.readouterr().out.splitlines()) > 50
    assert len(reads) == 4  # each ten seconds of thirty, and at the start


def test_a_byte_on_a_partition_of_a_disk_counts_once():
    def sample(time, moved):
        disks = {"nvme0n1": moved, "nvme0n1p2": moved, "dm-0": moved, "loop0": 0}
        still = dict.fromkeys(("stalled", "swapped in", "received", "sent", "loopback"), 0)
        return {"time": time, "processes": {}, "cores": [[time] * 6], "gpus": [], "disk bytes": disks,
                "disk busy": dict.fromkeys(disks, time / 2), **still}  # fmt: skip

    run = monitor.Run(1, 1)
    run.samples += [sample(0.0, 0), sample(2.0, 10**6)]
    assert run.shares()["disk bytes"] == pytest.approx(5e5)
    assert run.shares()["disk busy"] == pytest.approx(0.5)


def test_a_gpu_is_read_by_nvml_and_drawn(monkeypatch):
    two = [types.SimpleNamespace(gpu=90), types.SimpleNamespace(gpu=50)]
    library = types.ModuleType("pynvml")
    library.nvmlInit = lambda: None
    library.nvmlDeviceGetCount = lambda: 2
    library.nvmlDeviceGetHandleByIndex = lambda number: number
    library.nvmlDeviceGetUtilizationRates = lambda handle: two[handle]
    library.nvmlDeviceGetMemoryInfo = lambda handle: types.SimpleNamespace(used=10**9)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert monitor_sampler._Gpus().now() == [[0.9, 10**9], [0.5, 10**9]]
    with monitor.record(0.02) as run:
        time.sleep(0.1)
    for sample in run.samples:
        sample["gpus"] = monitor_sampler._Gpus().now()
    assert run.gpu()[0] == pytest.approx(0.7)
    assert run.gpu("memory")[0] == 2 * 10**9
    assert run.verdict().bound == "gpu"
    assert len(run.draw().axes) == 4


def test_a_broken_nvml_is_no_gpu(monkeypatch):
    library = types.ModuleType("pynvml")
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert monitor_sampler._Gpus().now() == []


# What no test machine does on purpose: the numbers are made up.

RESTING = dict.fromkeys(
    ("main", "children", "main wants", "children want", "machine", "steal", "at the disk", "disk busy", "disk bytes",
     "memory stalled", "swapped in", "gpu", "read", "written", "received", "sent", "loopback"), 0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({}, "waiting"),
        ({"gpu": 0.9, "main": 0.5, "main wants": 0.5}, "gpu"),
        ({"memory stalled": 0.4, "main": 0.2, "main wants": 0.2}, "memory"),
        ({"swapped in": 50e6}, "memory"),
        ({"main": 0.95, "main wants": 1.0, "machine": 1.0}, "one core"),
        ({"main": 0.1, "main wants": 1.0, "machine": 2.0}, "other programs"),
        ({"main": 0.5, "main wants": 0.5, "machine": 0.6}, "mixed"),
        ({"received": 80e6, "main": 0.1, "main wants": 0.1}, "network"),
        ({"main": 1.0, "main wants": 1.0, "children": 0.9, "children want": 0.9}, "all cores"),
        ({"children": 1.9, "children want": 1.9, "machine": 1.9}, "workers"),
        ({"disk busy": 0.9, "disk bytes": 9e6, "read": 9e6}, "disk"),
        ({"disk busy": 0.9, "disk bytes": 90e6, "read": 1e5}, "waiting"),  # somebody else's bytes
    ],
)
def test_the_sentence_follows_the_numbers(shares, expected):
    verdict = monitor.judge({**RESTING, **shares}, cores=2)
    assert verdict.bound == expected
    assert verdict.sentence.startswith("Bound by ")
    assert verdict.sentence.count(". ") == 0
