import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effdl import launch, launch_job, launch_watch, sockets
from effdl.launch import LaunchError, run

RANKS = "effdl.tests.launch_ranks"


PATIENCE = 600
"""Seconds after which a wait is a hang: a machine that imports torch under emulation needs minutes."""


def started_by(folder, ranks):
    """Process ids of every rank, child and grandchild, once all ranks have written theirs."""
    end = time.monotonic() + PATIENCE
    while len(list(folder.glob("*.pids"))) < ranks:
        assert time.monotonic() < end, "the ranks did not write their process ids"
        time.sleep(0.05)
    return [int(pid) for file in folder.glob("*.pids") for pid in file.read_text().split()]


def living(pids, wait=0.0):
    """The pids that still run, after at most `wait` seconds in which they may end. A zombie does not run."""

    def runs(pid):
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def alive():
        return [pid for pid in pids if runs(pid)]

    end = time.monotonic() + wait
    while alive() and time.monotonic() < end:
        time.sleep(0.05)
    return alive()


def below_server():
    """Return what still runs below the server; a killed process may take a while to leave the table."""
    return psutil.wait_procs(launch._server().children(recursive=True), timeout=PATIENCE)[1]


def said(text):
    """The lines of a rank's output, less the warnings of PyTorch's C++ (`[W1128 21:12:27 socket.cpp:200] ...`).

    They come on machines whose name or loopback address cannot be looked up.
    """
    return [line for line in text.splitlines() if not re.match(r"\[[A-Z]\d{4} ", line)]


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_every_rank_runs_in_one_group_and_returns_its_value_by_rank(ranks):
    results = run(f"{RANKS}:sum_of_ranks", ranks=ranks)
    assert [(rank, world) for rank, world, _ in results] == [(rank, ranks) for rank in range(ranks)]
    assert all(total.item() == ranks * (ranks - 1) / 2 for *_, total in results)
    assert below_server() == []


def test_arguments_and_values_make_the_round_trip():
    args = (1, "two", [3.0, None], {"four": torch.arange(4)})
    ((got, kwargs),) = run(f"{RANKS}:echo", ranks=1, args=args, kwargs={"bias": torch.ones(2, 2)})
    assert got[:3] == args[:3]
    assert torch.equal(got[3]["four"], args[3]["four"])
    assert torch.equal(kwargs["bias"], torch.ones(2, 2))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(values)
def test_pickled_values_are_equal(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value"
    launch_job.dump(value, path, "it")
    assert launch_job.load(path) == value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.complex64, torch.bool])
def test_a_view_travels_without_the_tensor_behind_it(tmp_path, dtype):
    view = torch.ones(1000, 1000).to(dtype)[:3, ::2]
    launch_job.dump(view, tmp_path / "view", "it")
    assert torch.equal(launch_job.load(tmp_path / "view"), view)
    assert (tmp_path / "view").stat().st_size < 5 * view.numel() * view.element_size() + 2000


def test_a_function_object_and_a_static_method_run_by_name():
    from effdl.tests import launch_ranks

    assert run(launch_ranks.echo, ranks=1, args=(5,))[0] == ((5,), {})
    assert list(run(launch_ranks.Maker.make, ranks=2)) == ["made", "made"]


def test_ranks_have_one_thread_this_environment_and_their_own_random_numbers(monkeypatch, tmp_path):
    run(f"{RANKS}:echo", ranks=1)  # the server lives already when the variable changes
    monkeypatch.setenv("EFFDL_TEST_ASKED", "yes")
    monkeypatch.chdir(tmp_path)
    first, second = run(f"{RANKS}:settings", ranks=2)
    assert (first["threads"], first["omp"]) == (1, "1")
    assert first["asked"] == "yes"
    assert os.path.samefile(first["directory"], tmp_path)
    if sys.platform == "linux":
        assert first["interface"] == "lo"
    assert first["draws"][0] != second["draws"][0]
    assert first["draws"][1] != second["draws"][1]


def test_more_threads_when_asked():
    assert run(f"{RANKS}:settings", ranks=1, threads=2)[0]["threads"] == 2


def test_without_a_backend_the_function_starts_its_own_group():
    assert list(run(f"{RANKS}:own_group", ranks=3, backend=None)) == [(0, 3), (1, 3), (2, 3)]


def test_an_edited_module_is_read_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "edited_by_the_student.py"
    module.write_text("def answer():\n    return 'before'\n")
    assert run("edited_by_the_student:answer", ranks=1)[0] == "before"
    module.write_text("def answer():\n    return 'after the edit'\n")
    assert run("edited_by_the_student:answer", ranks=1)[0] == "after the edit"


def test_output_stands_in_the_order_in_which_the_ranks_wrote_it():
    rounds, ranks = 5, 3
    output = run(f"{RANKS}:in_turn", ranks=ranks, args=(rounds,)).output
    turn = [*(f"rank {r}" for r in range(ranks)), "---"]
    assert said(output.text()) == turn * rounds
    assert said(output.text(rank=1)) == ["rank 1"] * rounds
    assert said(output.text(stream="stderr")) == ["---"] * rounds
    assert str(output).startswith("[rank 0] rank 0\n[rank 1] rank 1\n[rank 2] rank 2\n[rank 2] ---")


def test_output_past_python_is_kept():
    text = run(f"{RANKS}:print_past_python", ranks=1).output.text()
    assert sorted(said(text)) == ["from Python", "from a child", "written to descriptor 1"]


def test_output_is_shown_only_when_asked(capfd):
    run(f"{RANKS}:in_turn", ranks=2, args=(1,))
    assert capfd.readouterr().out == ""
    run(f"{RANKS}:in_turn", ranks=2, args=(1,), show=True)
    shown = capfd.readouterr()
    assert said(shown.out) == ["[rank 0] rank 0", "[rank 1] rank 1"]
    assert said(shown.err) == ["[rank 1] ---"]


def test_a_loop_that_prints_cannot_fill_the_disk():
    # How much a loop without end prints before its deadline differs by machine. Three times the limit shows the cut.
    result = run(f"{RANKS}:print_too_much", ranks=1, args=(3 * launch_job.OUTPUT_LIMIT,))
    text = result.output.text(stream="stdout")
    assert launch_job.OUTPUT_LIMIT <= len(text) < launch_job.OUTPUT_LIMIT + 200
    assert "cut here" in text[-100:]


def test_a_rank_that_returns_and_leaves_between_two_looks_is_not_taken_for_dead(tmp_path):
    log = tmp_path / "log"
    log.touch()

    class Leaves:
        @property
        def exitcode(self):
            with open(log, "ab") as file:
                launch_job.record(file.fileno(), 0, launch_job.RETURNED)
            return 0

    job = launch_job.Job(tmp_path, "module:function", 1, "gloo", 1)
    watch = launch_watch.Watch(job, show=False)
    watch.processes = [Leaves()]
    watch.read()
    assert watch._died() == {}


def test_the_traceback_of_the_rank_that_raised_comes_first():
    with pytest.raises(LaunchError) as failure:
        run(f"{RANKS}:raise_on", ranks=4, args=(2,))
    error = failure.value
    lines = str(error).splitlines()
    assert lines[0] == "rank 2 of 4 raised ValueError: the shard of this rank is empty"
    assert lines[2] == "Traceback (most recent call last):"
    assert "launch_ranks.py" in lines[3]
    assert "in raise_on" in lines[3]
    assert "about to fail" in str(error)
    assert error.rank == 2
    assert "effdl/launch" not in error.traceback
    assert error._render_traceback_() == [f"LaunchError: {error}"]
    assert below_server() == []


def test_an_error_at_import_of_the_module_reaches_the_user():
    with pytest.raises(
        LaunchError, match=r"^rank 0 of 1 raised ModuleNotFoundError: No module named 'no_such"
    ):
        run("no_such_module:f", ranks=1)


@pytest.mark.parametrize("status", [0, 3])
def test_a_rank_that_leaves_early_is_the_cause_and_not_the_closed_connection(status):
    with pytest.raises(
        LaunchError, match=f"^rank 1 of 3 died: it left with status {status} before"
    ) as failure:
        run(f"{RANKS}:exit_on", ranks=3, args=(1, status))
    assert failure.value.rank == 1
    assert below_server() == []


def test_a_rank_that_crashes_names_the_signal_and_the_place():
    with pytest.raises(LaunchError, match=r"^rank 0 of 2 died: killed by SIGSEGV") as failure:
        run(f"{RANKS}:segfault_on", ranks=2, args=(0,))
    assert re.search(r"launch_ranks.py\", line \d+ in segfault_on", failure.value.traceback)


def test_a_value_that_cannot_be_sent_is_said_in_one_sentence():
    with pytest.raises(
        LaunchError, match=r"raised TypeError: what rank \d returned cannot go to another process"
    ):
        run(f"{RANKS}:unsendable", ranks=2)


def test_the_deadline_ends_a_rank_that_hangs_and_says_where_every_rank_stands():
    # How long the ranks need until they hang is the machine's affair: where 1 s is too little, give them more.
    for deadline in (1, 5, 25, 125):
        with pytest.raises(LaunchError) as failure:
            run(f"{RANKS}:hang_on", ranks=3, args=(1,), deadline=deadline)
        message = str(failure.value)
        assert message.startswith(f"deadline of {deadline} s passed: ranks 0, 1, 2 of 3 still running")
        assert below_server() == []
        if "in wait_for_ever" in message and message.count("in all_reduce") == 2:
            break
    assert "in wait_for_ever" in message
    assert "in all_reduce" in message


def test_the_environment_sets_the_deadline_of_those_who_do_not_say(monkeypatch):
    monkeypatch.setenv("EFFDL_DEADLINE", "0.5")
    with pytest.raises(LaunchError, match=r"^deadline of 0\.5 s passed"):
        run(f"{RANKS}:wait_for_ever", ranks=1)


class Clock:
    """The time for launch_watch, which leaps over any deadline once the ranks have written their process ids."""

    def __init__(self, folder, ranks):
        self.folder, self.ranks, self.sleep, self.begun, self.seen = folder, ranks, time.sleep, False, 0

    def monotonic(self):
        # Never at the first question, when the run begins. Then twice: one of the questions after the ranks are there
        # may be the one from which their deadline counts.
        self.seen += self.begun and len(list(self.folder.glob("*.pids"))) == self.ranks
        self.begun = True
        return time.monotonic() + 2 * PATIENCE * min(max(self.seen - 1, 0), 2)


@pytest.mark.skipif(
    sys.platform != "linux", reason="detached grandchildren are found through a child subreaper"
)
@pytest.mark.parametrize(("then", "said"), [("raise", "after starting"), ("hang", "deadline")])
def test_children_and_detached_grandchildren_of_a_failed_run_are_dead(tmp_path, monkeypatch, then, said):
    run(f"{RANKS}:echo", ranks=1)  # the server lives already when the clock changes
    if then == "hang":
        monkeypatch.setattr(launch_watch, "time", Clock(tmp_path, 2))
    with pytest.raises(LaunchError, match=said):
        run(f"{RANKS}:leave_children", ranks=2, args=(str(tmp_path), then), deadline=PATIENCE)
    pids = started_by(tmp_path, 2)
    assert len(pids) == 6
    assert living(pids) == []


@pytest.mark.skipif(
    sys.platform != "linux", reason="detached grandchildren are found through a child subreaper"
)
def test_what_a_run_that_succeeds_leaves_behind_is_dead(tmp_path):
    run(f"{RANKS}:leave_children", ranks=2, args=(str(tmp_path), "return"))
    assert living(started_by(tmp_path, 2)) == []


@pytest.fixture
def ctrl_c():
    """Ctrl-C works: a shell's background job ignores SIGINT, and so would these tests and what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_the_calling_process_leaves_no_child_and_the_next_run_works(tmp_path):
    def interrupt():
        started_by(tmp_path, 2)
        os.kill(os.getpid(), signal.SIGINT)

    run(f"{RANKS}:echo", ranks=1)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(f"{RANKS}:leave_children", ranks=2, args=(str(tmp_path), "hang"), deadline=PATIENCE)
    thread.join()
    assert living(started_by(tmp_path, 2)) == []
    assert len(run(f"{RANKS}:sum_of_ranks", ranks=2)) == 2


@pytest.mark.drawn(3)
@pytest.mark.skipif(sys.platform != "linux", reason="a killed parent is noticed through prctl(2)")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.usefixtures("ctrl_c")
def test_no_process_outlives_a_parent_that_is_signalled(tmp_path, number):
    call = f"run('{RANKS}:leave_children', ranks=2, args=({str(tmp_path)!r}, 'hang'), deadline={PATIENCE})"
    script = f"from effdl.launch import run\n{call}"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) as parent:
        pids = started_by(tmp_path, 2)
        pids += [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
        assert len(living(pids)) >= 7  # two ranks, two children, two grandchildren, the server
        parent.send_signal(number)
        errors = parent.communicate(timeout=PATIENCE)[1]
    assert living(pids, wait=PATIENCE) == []
    if number == signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_script_needs_no_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"print('once')\nfrom effdl import launch\nprint(launch.run('{RANKS}:echo', ranks=2))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "once\n[((), {}), ((), {})]\n"


def test_a_run_inside_a_rank_has_its_own_group_and_leaves_nothing():
    (inner,) = run(f"{RANKS}:run_inside", ranks=1)
    assert [(rank, world) for rank, world, _ in inner] == [(0, 2), (1, 2)]
    assert below_server() == []


def from_a_notebook():
    """A function as a notebook's cell makes it: its module is __main__."""


from_a_notebook.__module__ = "__main__"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({"function": from_a_notebook}, "defined in the notebook or script itself.*move it to a module"),
        ({"function": lambda: 1}, "is a lambda or stands inside another function"),
        ({"function": "ring"}, 'function="ring" has no module or no name: write "package.module:function"'),
        ({"function": 5}, "has no name to import it by"),
        ({"args": (from_a_notebook,)}, "the arguments of .* cannot go to another process.*from_a_notebook"),
        ({"ranks": 0}, "ranks=0: give the number of processes"),
        ({"ranks": 2.0}, "ranks=2.0"),
        ({"deadline": 0}, "deadline=0: give the seconds"),
        ({"threads": 0}, "threads=0"),
        ({"backend": "mpi"}, "backend='mpi': use"),
        (
            {"backend": "nccl", "ranks": 1000},
            "1000 ranks meet . GPUs: ask for fewer ranks or use backend=.gloo",
        ),
    ],
)
def test_bad_input_gets_one_sentence_before_anything_starts(call, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence) as refused:
        run(**{"function": f"{RANKS}:echo", "ranks": 1} | call)
    assert "\n" not in str(refused.value)


# --- machines whose folders or loopback are not as usual ---------------------------------------------------------

ELSEWHERE = """
import sys, time
from effdl import launch
begin = time.monotonic()
try:
    print([value for _, _, value in launch.run("effdl.tests.launch_ranks:sum_of_ranks", 2, deadline=600)])
except launch.LaunchError as error:
    print(error, "after", time.monotonic() - begin)
"""


@pytest.mark.alone
def test_ranks_run_where_tmpdir_is_longer_than_a_sockets_path_and_leave_no_folder(tmp_path):
    deep = tmp_path / ("é" * 60) / ("x" * 60)
    deep.mkdir(parents=True)
    before = set(os.listdir("/tmp"))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        env={**os.environ, "TMPDIR": str(deep)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.strip() == "[tensor([1.]), tensor([1.])]", done.stderr
    assert [name for name in set(os.listdir("/tmp")) - before if name.startswith("effdl-")] == []


@pytest.mark.parametrize("place", ["/tmp/" + "x" * 80, "/tmp/" + "é" * 40, "/tmp/" + "y" * 200])
def test_a_socket_goes_to_a_short_folder_where_the_usual_one_is_too_long(place, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", place)
    folder = sockets.socket_folder("effdl-", room=18)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"{folder}/listener-12345678")
        assert os.stat(folder).st_mode & 0o777 == 0o700
    finally:
        shutil.rmtree(folder)


def test_the_usual_folder_is_used_up_to_the_last_byte_that_fits(tmp_path, monkeypatch):
    place = str(tmp_path / "p")
    os.mkdir(place)
    monkeypatch.setattr(tempfile, "tempdir", place)
    room = sockets.LONGEST_PATH - len(place) - len("effdl-") - 10
    folders = [sockets.socket_folder("effdl-", room + more) for more in (0, 1)]
    assert [folder.startswith(place) for folder in folders] == [True, False]
    os.rmdir(folders[1])


def test_where_no_folder_is_short_enough_one_sentence_names_tmpdir(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "x" * 100)
    monkeypatch.setattr(sockets, "_SHORT_PLACES", ("/nowhere", "/" + "y" * 99))
    monkeypatch.setattr(launch, "_sockets", None)
    monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", "/tmp/" + "z" * 100)
    with (
        pytest.raises(LaunchError, match=r"TMPDIR is '/tmp/xxx.*set TMPDIR to a shorter path"),
        launch._short_folder(),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("create_connection", OSError(101, "Network is unreachable")),
        ("create_connection", TimeoutError("timed out")),  # a firewall that drops
        ("create_connection", ConnectionRefusedError(111, "Connection refused")),  # one that rejects
        ("create_server", OSError(99, "Cannot assign requested address")),
    ],
)
def test_where_the_loopback_cannot_be_reached_one_sentence_says_so_before_a_rank_starts(
    name, error, monkeypatch
):
    asked = []

    def fails(*_, **options):
        asked.append(options.get("timeout", 0))
        raise error

    monkeypatch.setattr(launch.socket, name, fails)
    with pytest.raises(
        LaunchError, match=rf"127\.0\.0\.1 cannot be reached .*{error.args[-1]}.*ip link set lo up"
    ):
        run(f"{RANKS}:sum_of_ranks", 2, deadline=2)
    assert max(asked) <= 2


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes a network namespace"
)
def test_a_run_in_a_network_whose_loopback_is_down_ends_at_once():
    unshare = shutil.which("unshare") or pytest.skip("this machine has no unshare")
    command = [unshare, "-n", sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine makes no network namespace")
    assert "127.0.0.1 cannot be reached" in done.stdout
    assert float(done.stdout.split()[-1]) < 60
