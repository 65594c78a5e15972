"""What a worker can and cannot do. Every attack runs for real; none may reach anything outside its sandbox."""

import itertools
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from effdl.processes import still_alive
from grader.checks import StudentError
from grader.sandbox import seccomp
from grader.sandbox.packed import MAX_PATH, Packed


def call(sub, function="run", *args, **options):
    return sub.call(f"work:{function}", *args, **options).result


def test_a_call_brings_back_what_the_function_returns(submit):
    sub = submit("def run(x, *, scale): return {'double': 2 * x, 'scale': scale, 'text': 'é'}")
    result = sub.call("work:run", torch.arange(3), scale=0.5).result
    assert torch.equal(result["double"], torch.tensor([0, 2, 4]))
    assert result["scale"] == 0.5
    assert result["text"] == "é"


def test_the_worker_has_no_rights_and_no_environment(submit):
    sub = submit(
        """
        import os
        def run():
            status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
            return {"uid": os.getuid(), "caps": status["CapEff"], "bounding": status["CapBnd"],
                    "nnp": status["NoNewPrivs"], "seccomp": status["Seccomp"], "env": dict(os.environ),
                    "processes": [p for p in os.listdir("/proc") if p.isdigit()],
                    "fds": len(os.listdir("/proc/self/fd"))}
        """
    )
    seen = call(sub)
    assert seen["uid"] != 0
    assert int(seen["caps"], 16) == 0
    assert int(seen["bounding"], 16) == 0
    assert seen["nnp"] == "1"
    assert seen["seccomp"] == "2"
    assert len(seen["processes"]) == 2  # init and the worker
    assert seen["fds"] <= 5  # three standard streams, the socket, and the listing itself
    assert not {
        key for key in seen["env"] if "TOKEN" in key or key in ("USER", "SSH_AUTH_SOCK", "PYTHONPATH")
    }


def test_no_file_outside_the_environment_can_be_read(submit, tmp_path):
    secret = tmp_path / "hidden_checks.py"
    secret.write_text("the answer")
    repository = Path(__file__).parents[3]
    sub = submit(
        """
        import os
        def run(paths):
            return [os.path.exists(path) for path in paths], sorted(os.listdir("/"))
        """
    )
    paths = [str(secret), str(repository / "grader"), str(repository / "assignments"), "/etc/shadow", "/sys"]
    found, top = call(sub, "run", paths)
    assert found == [False] * len(paths)
    assert "home" not in top


@pytest.mark.parametrize(
    "path", ["/submission/work.py", "/usr/x", "/x", sys.prefix + "/x", "/dev/x", "/etc/x", "/etc/fonts/x"]
)
def test_nothing_but_tmp_and_shm_can_be_written(submit, path):
    sub = submit(
        """
        def run(path):
            try:
                open(path, "w").write("x")
            except OSError as error:
                return type(error).__name__
            return "written"
        """
    )
    assert call(sub, "run", path) in ("OSError", "PermissionError")
    assert call(sub, "run", "/tmp/x") == "written"


def test_nothing_in_proc_sets_the_kernel_to_work(submit):
    """A trigger at /proc/pressure is looked after by threads of the kernel's, whatever becomes of its owner."""
    sub = submit(
        """
        import os
        def run():
            found = []
            for name in ("cpu", "memory", "io"):
                try:
                    with open(f"/proc/pressure/{name}", "r+b", buffering=0) as file:
                        file.write(b"some 150000 2000000" + bytes(1))
                        found.append(name)
                except FileNotFoundError:
                    continue
            # What ext4 tells there of a disk it reads from the disk, all of it.
            return [*found, *os.listdir("/proc/fs")]
        """
    )
    assert call(sub) == []


@pytest.mark.parametrize("limit", ["/tmp", "/dev/shm"])
def test_a_full_disk_stops_at_the_limit(submit, limit):
    sub = submit(
        """
        import errno
        def run(folder):
            written = 0
            try:
                for i in range(100):
                    with open(f"{folder}/{i}", "wb") as file:
                        for _ in range(10):
                            written += file.write(bytes(1 << 20))
            except OSError as error:
                return errno.errorcode[error.errno], written >> 20
        """
    )
    code, mebibytes = call(sub, "run", limit)
    assert code == "ENOSPC"
    assert mebibytes <= 512


def test_the_network_ends_at_the_loopback(submit):
    sub = submit(
        """
        import socket
        def run(port):
            found = [line.split()[0] for line in open("/proc/net/route").read().splitlines()[1:]]
            for family in (socket.AF_PACKET, 38, 40):  # raw packets, AF_ALG, AF_VSOCK
                try:
                    socket.socket(family, socket.SOCK_STREAM)
                except OSError as error:
                    found.append(error.strerror)
            try:
                socket.create_connection(("127.0.0.1", port), 1)
            except OSError as error:
                found.append(error.strerror)
            with socket.create_server(("127.0.0.1", 0)) as server:
                socket.create_connection(server.getsockname(), 1).close()
            return found
        """
    )
    # A server on the machine's own loopback, which is another one than the sandbox's.
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = call(sub, "run", server.getsockname()[1])
    assert found == ["Operation not permitted"] * 3 + ["Connection refused"]


def test_denied_system_calls_are_denied(submit):
    sub = submit(
        """
        import ctypes, errno
        def run(numbers):
            libc = ctypes.CDLL(None, use_errno=True)
            found = {}
            for name, number in numbers.items():
                ctypes.set_errno(0)
                libc.syscall(number, 0, 0, 0, 0, 0, 0)
                found[name] = errno.errorcode.get(ctypes.get_errno(), "none")
            flags = 0x10000000 | 17
            ctypes.set_errno(0)
            libc.syscall(numbers["clone"], flags, 0, 0, 0, 0)
            found["clone"] = errno.errorcode.get(ctypes.get_errno(), "none")
            return found
        """
    )
    column = {"x86_64": 0, "aarch64": 1}[os.uname().machine]
    numbers = {name: call[column] for name, call in seccomp.DENIED.items() if call[column] is not None}
    numbers["clone"] = seccomp._CLONE[column]
    found = call(sub, "run", numbers)
    assert set(found.values()) == {"EPERM"}


def test_a_system_call_that_the_filter_does_not_know_does_not_exist(submit):
    """Its own answers would be other errors, or none: the arguments are no pointers."""
    sub = submit(
        """
        import ctypes, errno
        def run(numbers):
            libc = ctypes.CDLL(None, use_errno=True)
            found = {}
            for number in numbers:
                ctypes.set_errno(0)
                libc.syscall(number, 0, 0, 0, 0, 0, 0)
                found[errno.errorcode.get(ctypes.get_errno(), "none")] = number
            return found
        """
    )
    # cachestat tells what is in the kernel's cache of files, listmount what is mounted.
    numbers = [*range(seccomp.LAST_KNOWN + 1, seccomp.LAST_KNOWN + 100), 600, 1 << 16]
    assert set(call(sub, "run", numbers)) == {"ENOSYS"}


def test_filters_are_denied_since_all_jobs_of_a_machine_share_what_keeps_their_code(submit):
    """8,400 filters of 4,096 divisions fill `bpf_jit_limit`; no sandbox gets its own filter then."""
    sub = submit(
        """
        import ctypes, errno, socket, struct
        def tried(call, *arguments):
            try:
                return call(*arguments)
            except OSError as error:
                return errno.errorcode[error.errno]
        def prctl(*arguments):
            ctypes.set_errno(0)
            ctypes.CDLL(None, use_errno=True).prctl(*arguments)
            return errno.errorcode.get(ctypes.get_errno(), "none")
        def run():
            code = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0xFFFF))
            filters = struct.pack("HxxxxxxQ", 1, ctypes.addressof(code))
            one = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            return [
                [tried(one.setsockopt, socket.SOL_SOCKET, option, filters) for option in (26, 50, 51, 52)],
                # IPV6_V6ONLY has the number of SO_ATTACH_FILTER.
                tried(one.setsockopt, socket.IPPROTO_IPV6, 26, 1),
                [prctl(option, 2, filters, 0, 0) for option in (22, 62, 67)],
                prctl(15, b"a name", 0, 0, 0),
            ]
        """
    )
    assert call(sub) == [["EPERM"] * 4, None, ["EPERM"] * 3, "none"]


def test_the_times_of_the_machines_devices_cannot_be_set(submit):
    """They would outlive the job, and tell the next one a hundred bits."""
    sub = submit(
        """
        import errno, os
        def tried(what):
            try:
                return os.utime(what)
            except OSError as error:
                return errno.errorcode[error.errno]
        def run():
            with open("/dev/null", "w") as nowhere:
                nowhere.write("x")
            assert open("/dev/zero", "rb").read(1) + os.read(0, 1) == bytes(1)
            devices = [f"/dev/{name}" for name in os.listdir("/dev") if name != "shm"]
            return [tried(what) for what in (*devices, 0)]
        """
    )
    assert call(sub) == ["EROFS"] * 6


def test_nothing_makes_the_machines_disks_write(submit):
    """A flush of a library's file is one of the whole disk; of files in memory it is nothing, and succeeds."""
    sub = submit(
        """
        import mmap, os, time
        def run():
            file = os.open(os.__file__, os.O_RDONLY)
            mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
            mine = open("/tmp/mine", "w+b")
            mine.write(bytes(10_000))
            mine.flush()
            os.fsync(mine.fileno())
            started = time.perf_counter()
            for _ in range(1000):
                os.fsync(file)
                os.fdatasync(file)
                mapped.flush()
            # Not even of a closed one: the kernel is not asked.
            os.fsync(99)
            return [time.perf_counter() - started, os.path.getsize("/tmp/mine")]
        """
    )
    seconds, size = call(sub)
    assert size == 10_000
    assert seconds < 5  # a disk takes milliseconds for each


def test_the_page_on_security_counts_the_denied_system_calls():
    page = (Path(seccomp.__file__).parent / "SECURITY.md").read_text(encoding="utf-8")
    counts = [sum(call[column] is not None for call in seccomp.DENIED.values()) for column in (0, 1)]
    assert f"{counts[0]} system calls denied ({counts[1]} on aarch64)" in page


def test_the_kernel_is_asked_for_no_socket_but_those_that_torch_needs(submit):
    """Any other error than EPERM would be the kernel's answer, which may have loaded a module for it."""
    sub = submit(
        """
        import errno, socket
        def tried(make, case):
            try:
                made = make(*case)
            except OSError as error:
                return errno.errorcode[error.errno]
            for one in made if isinstance(made, tuple) else [made]:
                one.close()
            return "made"
        def run(sockets, pairs):
            return [[tried(socket.socket, c) for c in sockets], [tried(socket.socketpair, c) for c in pairs]]
        """
    )
    stream, datagram, raw, seqpacket, dccp, nonblock = 1, 2, 3, 5, 6, 0x800
    denied = [(2, dccp, 0), (10, dccp, 0), (2, seqpacket, 0), (2, raw, 1), (2, stream, 132), (30, stream, 0)]
    allowed = [(2, stream | nonblock, 0), (10, stream, 6), (2, datagram, 17), (1, seqpacket, 0), (16, raw, 0)]
    pairs = [(2, stream, 0), (2, stream, 132), (30, stream, 0), (38, seqpacket, 0), (1, stream, 0)]
    made, paired = call(sub, "run", [*denied, *allowed], pairs)
    assert made == ["EPERM"] * len(denied) + ["made"] * len(allowed)
    assert paired == ["EPERM"] * 4 + ["made"]


def test_a_job_can_neither_drop_a_page_of_a_file_nor_ask_whether_one_is_cached(submit):
    """With both, a worker could leave a word for the next job in the kernel's cache of files."""
    sub = submit(
        """
        import errno, os
        def tried(call, *arguments):
            try:
                return call(*arguments) is not Ellipsis
            except OSError as error:
                return errno.errorcode[error.errno]
        def run():
            file, page = os.open(os.__file__, os.O_RDONLY), [bytearray(16)]
            return [
                tried(os.posix_fadvise, file, 0, 0, os.POSIX_FADV_SEQUENTIAL),
                tried(os.preadv, file, page, 0),
                tried(os.posix_fadvise, file, 0, 0, os.POSIX_FADV_DONTNEED),
                tried(os.preadv, file, page, 0, os.RWF_NOWAIT),
            ]
        """
    )
    assert call(sub, "run") == [True, True, "EPERM", "EPERM"]


def test_huge_pages_of_the_machine_which_nobody_counts_are_denied(submit):
    """Where there are none, the kernel's own answer is that there is no memory."""
    sub = submit(
        """
        import ctypes, errno, mmap, os
        def tried(call, *arguments):
            try:
                call(*arguments)
            except OSError as error:
                return errno.errorcode[error.errno]
        def segment(size, flags):
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.shmget(0, ctypes.c_size_t(size), flags) < 0:
                raise OSError(ctypes.get_errno(), "shmget")
        def run():
            size, private = 2 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            return [
                [tried(mmap.mmap, -1, size, private | huge) for huge in (0x40000, 0)],
                [tried(os.memfd_create, "x", huge) for huge in (4, 0)],
                [tried(segment, size, 0o1600 | huge) for huge in (0o4000, 0)],
            ]
        """
    )
    assert call(sub) == [["EPERM", None]] * 3


TERMINALS = """
import errno, fcntl, os, pty, termios
def tried(call, *arguments):
    try:
        return call(*arguments) is not Ellipsis
    except OSError as error:
        return errno.errorcode[error.errno]
def run():
    pairs = []
    try:
        while True:
            pairs.append(os.openpty())
    except OSError as error:
        full = errno.errorcode[error.errno]
    ours, theirs = pairs[0]
    os.write(theirs, b"a line" + bytes([10]))
    said = os.read(ours, 100)
    # A word in another's mouth, twice, and another line discipline.
    asked = [tried(fcntl.ioctl, theirs, request, b"x" * 4) for request in (termios.TIOCSTI, 0x541C, termios.TIOCSETD)]
    listed = sorted(os.listdir("/dev/pts"))
    wrong = [tried(os.open, name, os.O_CREAT | os.O_RDWR) for name in ("/dev/pts/9", "/dev/pts/x", "/dev/tty")]
    for pair in pairs:
        for one in pair:
            os.close(one)
    child = pty.fork()
    if child[0] == 0:
        os._exit(7 if os.isatty(0) else 8)
    return [len(pairs), full, said, asked, listed, wrong, os.waitstatus_to_exitcode(os.waitpid(child[0], 0)[1])]
"""


def test_a_job_has_as_many_terminals_as_it_may_of_its_own_and_cannot_change_what_they_are(submit):
    sub = submit(TERMINALS)
    sub._limits = replace(sub._limits, terminals=3)
    count, full, said, asked, listed, wrong, code = call(sub)
    assert (count, full, said, code) == (3, "ENOSPC", b"a line\r\n", 7)
    assert asked == ["EPERM"] * 3
    assert listed == ["0", "1", "2", "ptmx"]  # and none of the machine's or of another job's
    assert set(wrong) <= {"ENOENT", "EACCES", "EPERM", "EROFS", "ENXIO"}


def test_a_job_whose_time_counts_has_no_terminal_since_the_kernel_works_for_one_after_a_freeze(submit):
    sub = submit(
        """
        import os
        def run():
            try:
                os.openpty()
            except OSError:
                return os.path.lexists("/dev/ptmx"), os.path.lexists("/dev/pts")
        """
    )
    assert sub._limits.terminals == 0
    assert call(sub) == (False, False)


@pytest.mark.skipif(not os.path.isdir("/etc/fonts"), reason="this machine has no fontconfig")
def test_fonts_can_be_listed_without_a_complaint_and_their_settings_cannot_be_written(submit):
    sub = submit(
        """
        import os, shutil, subprocess
        def run():
            found = [os.access(folder, os.W_OK) for folder in ("/etc/fonts", "/etc/fonts/fonts.conf", "/var")]
            if not shutil.which("fc-list"):
                return found, "", True
            done = subprocess.run(["fc-list"], capture_output=True, text=True)
            return found, done.stderr, bool(done.stdout)
        """
    )
    assert call(sub) == ([False] * 3, "", True)


def test_torch_python_and_processes_work_inside(submit):
    sub = submit(
        """
        import subprocess, sys
        import multiprocessing as mp
        import torch
        def double(queue): queue.put(2)
        def run():
            x = torch.randn(64, 64, requires_grad=True)
            (x @ x).sum().backward()
            data = torch.utils.data.TensorDataset(torch.arange(8.0))
            loaded = sum(float(b.sum()) for (b,) in torch.utils.data.DataLoader(data, 4, num_workers=2))
            context = mp.get_context("fork")
            queue = context.Queue()
            child = context.Process(target=double, args=(queue,))
            child.start()
            got = queue.get(timeout=300)
            child.join()
            text = subprocess.run([sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True)
            return x.grad.shape[0], loaded, got, text.stdout
        """
    )
    assert call(sub) == (64, 28.0, 2, "42\n")


def test_an_exception_is_told_with_file_and_line(submit):
    sub = submit("def run():\n    raise KeyError('speed')\n")
    with pytest.raises(StudentError, match=r"raised KeyError: 'speed' at work\.py, line 2"):
        call(sub)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise RuntimeError('at import')", "RuntimeError: at import at work.py, line 1"),
        ("def run(:", "SyntaxError"),
        ("import nothing_like_it", "ModuleNotFoundError"),
        ("import os; os._exit(7)", r"ended without an answer \(exit code 7\)"),
        ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
        ("import ctypes; ctypes.string_at(0)", "killed by signal 11"),
        ("def run(): raise NotImplementedError('not implemented yet: run')", "^not implemented yet: run$"),
        ("def other(): pass", "defines no function run"),
        ("def run(): return object()", "type object cannot cross"),
        (
            "class E(Exception):\n    def __str__(self): raise ValueError\ndef run(): raise E",
            "cannot be read",
        ),
    ],
)
def test_whatever_breaks_becomes_one_sentence(submit, code, says):
    with pytest.raises(StudentError, match=says) as caught:
        call(submit(code))
    assert "\n" not in caught.value.why


def test_a_missing_file_is_named(submit):
    with pytest.raises(StudentError, match=r"other\.py is missing"):
        submit("").call("other:run")


def test_a_loop_that_swallows_interrupts_ends_at_its_limit(submit):
    sub = submit(
        """
        import signal
        def run():
            for number in range(1, 32):
                try:
                    signal.signal(number, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            while True:
                try:
                    while True:
                        pass
                except BaseException:
                    pass
        """
    )
    started = time.perf_counter()
    with pytest.raises(StudentError, match=r"did not answer within [\d.]+ s"):
        call(sub, wall=1)
    # Of the 20 s that a check has, longer on a slow machine, one call took its own second and the end of its worker.
    assert time.perf_counter() - started < 10 * sub._place.stretch


def test_memory_is_limited_for_all_processes_together(submit):
    sub = submit(
        """
        import os, time
        def run():
            for _ in range(8):
                if os.fork() == 0:
                    kept = [bytearray(50 << 20) for _ in range(4)]
                    for block in kept:
                        block[::4096] = b"x" * len(block[::4096])
                    time.sleep(30)
            os.wait()
            time.sleep(30)
        """,
        memory=400 << 20,
    )
    with pytest.raises(StudentError, match="more than the 400 MiB of memory"):
        call(sub, wall=15)


def test_a_fork_bomb_stops_at_the_process_limit(submit):
    sub = submit(
        """
        import os, time
        def run():
            children = 0
            try:
                while True:
                    if os.fork() == 0:
                        time.sleep(60)
                    children += 1
            except OSError:
                return children
        """
    )
    assert 0 < call(sub) < 256


def test_no_process_of_a_submission_outlives_its_job(submit):
    sub = submit(
        """
        import os, subprocess, sys
        def run():
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(86397)"])
                os._exit(0)
            os.wait()
            return 1
        """
    )
    assert call(sub) == 1
    left = [p for p in psutil.process_iter(["cmdline"]) if "86397" in " ".join(p.info["cmdline"] or [])]
    assert left == []


def test_a_flood_of_output_is_dropped_and_noted_while_the_work_counts(submit):
    sub = submit("def run():\n    for _ in range(50): print('x' * (1 << 20))\n    return 5\n")
    run = sub.call("work:run")
    assert run.result == 5
    assert len(run.stdout) <= 1 << 20
    assert "MiB were kept" in sub.notes[0]


def test_bytes_that_are_no_message_fail_the_submission_only(submit):
    sub = submit(
        """
        import os
        def run():
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, b"\\xff" * 64)
                except OSError:
                    pass
            return 1
        """
    )
    with pytest.raises(StudentError, match="no answer"):
        call(sub)


def test_a_worker_that_stops_in_the_middle_of_a_message_does_not_stop_the_examiner(submit):
    sub = submit(
        """
        import os, struct, time
        def run():
            for descriptor in range(3, 64):
                try:
                    os.write(descriptor, struct.pack("<IQ", 100, 0))
                except OSError:
                    pass
            time.sleep(60)
        """
    )
    with pytest.raises(StudentError, match=r"did not answer within [\d.]+ s"):
        call(sub, wall=1)


RING = """
import torch, torch.distributed as dist
def reduce(x, rank, size):
    dist.all_reduce(x)
    x /= size
def broken(x, rank, size):
    if rank == 1:
        raise ValueError("rank one gives up")
    dist.all_reduce(x)
def quits(x, rank, size):
    import os
    if rank == 2:
        os._exit(4)
    dist.all_reduce(x)
def deadlock(x, rank, size):
    dist.recv(x, (rank + 1) % size)
def speak(x, rank, size):
    for turn in range(size):
        if turn == rank:
            print("rank", rank)
        dist.barrier()
"""


def test_ranks_share_a_process_group_and_bytes_on_the_wire_are_counted(submit):
    tensors = torch.randn(4, 250_000)
    run = submit(RING).ranks("work:reduce", world=4, per_rank=tensors)
    for result in run.results:
        assert torch.allclose(result, tensors.mean(0), atol=1e-6)
    assert 5.9 < run.network_bytes / tensors[0].nbytes < 6.3  # 2 (n - 1) tensors of an all-reduce, n = 4
    assert run.cpu_seconds > 0
    assert run.peak_memory > tensors.nbytes / 4


def test_ranks_print_into_one_stream_in_the_order_of_time(submit):
    run = submit(RING).ranks("work:speak", world=3, per_rank=torch.zeros(3, 1))
    assert run.stdout == "rank 0\nrank 1\nrank 2\n"


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("broken", "rank 1 raised ValueError: rank one gives up"),
        ("quits", r"rank 2 ended without an answer \(exit code 4\)"),
        ("deadlock", r"ranks 0, 1, 2 did not answer within [\d.]+ s"),
    ],
)
def test_the_rank_that_broke_first_is_named(submit, function, says):
    with pytest.raises(StudentError, match=says):
        submit(RING).ranks(f"work:{function}", world=3, per_rank=torch.zeros(3, 8), wall=3)


def test_ranks_can_move_data_over_their_cables_and_in_no_other_way(submit):
    sub = submit(
        """
        import os, socket
        import torch.distributed as dist
        def run(x, rank, size):
            if rank == 0:
                open("/tmp/data", "w").write("secret")
                open("/dev/shm/data", "w").write("secret")
                unix = socket.socket(socket.AF_UNIX)
                unix.bind("\\0meet")
                unix.listen()
                local = socket.create_server(("127.0.0.1", 4321))
            dist.barrier()
            found = [os.path.exists("/tmp/data"), os.path.exists("/dev/shm/data")]
            for family, address in ((socket.AF_UNIX, "\\0meet"), (socket.AF_INET, ("127.0.0.1", 4321))):
                try:
                    socket.socket(family).connect(address)
                    found.append(True)
                except ConnectionRefusedError:
                    found.append(False)
            try:
                socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 2)
                found.append(True)
            except PermissionError:
                found.append(False)
            try:
                open("/proc/self/fd/1", "rb").close()
                found.append(True)
            except OSError:
                found.append(False)
            dist.barrier()
            return found
        """
    )
    first, second = sub.ranks("work:run", world=2, per_rank=[0, 1]).results
    assert second == [False] * 6
    assert first == [True] * 4 + [False] * 2


def test_every_rank_reaches_every_other_by_its_name_and_nobody_else(submit):
    sub = submit(
        """
        import socket
        import torch.distributed as dist
        def run(rank, size):
            server = socket.create_server(("", 4000 + rank))
            dist.barrier()
            reached = []
            for other in range(size):
                socket.create_connection((f"rank{other}", 4000 + other), 5).close()
                reached.append(other)
            routes = [line.split()[0] for line in open("/proc/net/route").read().splitlines()[1:]]
            six = open("/proc/net/if_inet6").read().split("\\n")
            dist.barrier()
            return reached, routes, [line.split()[-1] for line in six if line]
        """
    )
    for rank, (reached, routes, six) in enumerate(sub.ranks("work:run", world=3).results):
        assert reached == [0, 1, 2]
        assert sorted(routes) == [f"rank{other}" for other in range(3) if other != rank]
        assert set(six) <= {"lo"}


def test_nothing_crosses_a_cable_by_itself(submit):
    run = submit("import time\ndef run(rank, size): time.sleep(2)").ranks("work:run", world=3)
    # Acknowledgements of what was said before, one in each direction of each connection, at most.
    assert run.network_bytes <= 66 * 12


def test_a_job_gets_no_more_processors_than_allowed(submit):
    sub = submit(
        """
        import os, time
        def run(seconds):
            if os.fork() == 0:
                os.setsid()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        """
    )
    sub._limits = replace(sub._limits, cpus=0.5)
    run = sub.call("work:run", 2.0)
    # Half a processor, and a period's share of 50 ms at either end: 0.55 in 2 s. Without a limit it is 1 or 2.
    assert run.cpu_seconds < 0.75 * run.wall


@pytest.mark.parametrize(
    ("code", "driver"),
    [
        ("x = input('n? ')\ndef run(): return 1", None),
        ("run = input", None),  # no line of the submission's leads to it
        ("import pickle, io\ndef run(): return pickle.load(io.BytesIO())", None),
        ("def run(): raise EOFError('mine')", None),
        ("import asyncio\ndef run(): raise asyncio.IncompleteReadError(b'', 3)", None),
        ("run = input", "from work import run as theirs\ndef run(): return theirs()"),
    ],
)
def test_an_eoferror_of_the_students_is_an_error_and_not_the_end_of_the_conversation(submit, code, driver):
    sub = submit(code, driver=driver)
    with pytest.raises(StudentError, match=r"EOF|IncompleteReadError"):
        sub.call("driver:run" if driver else "work:run")


def test_a_driver_sees_the_students_module(submit):
    sub = submit("def f(x): return x + 1", driver="from work import f\ndef twice(x): return f(f(x))\n")
    assert sub.call("driver:twice", 3).result == 5


def test_random_inputs_differ_between_runs_and_repeat_with_the_seed(submit):
    from grader.examine.rng import Rng

    assert torch.equal(Rng(5, "a").normal((4,)), Rng(5, "a").normal((4,)))
    assert not torch.equal(Rng(5, "a").normal((4,)), Rng(6, "a").normal((4,)))
    assert not torch.equal(Rng(5, "a").normal((4,)), Rng(5, "b").normal((4,)))


def test_workers_start_with_different_random_state(submit):
    code = "import random, numpy, torch\ndef run(): return random.random(), numpy.random.rand(), torch.rand(1).item()"
    one, two = call(submit(code)), call(submit(code))
    assert all(a != b for a, b in zip(one, two, strict=True))


def test_when_the_examiner_is_killed_no_worker_survives(tmp_path):
    (tmp_path / "work.py").write_text("import time\ndef run():\n    time.sleep(86396)\n")
    code = f"""
import sys
from pathlib import Path
from grader.examine.checks import Check
from grader.examine.examiner import Examiner
from grader.examine.submission import Submission
from grader.sandbox.packed import Packed
examiner = Examiner("namespaces")
check = Check("c", "i", 1, 60, None, "", "", False, "s", None)
sub = Submission(examiner.place, Packed(Path({str(tmp_path)!r})), check, driver=None, memory=1 << 30, seed=1)
print(examiner._zygote.pid, flush=True)
sub.call("work:run")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    zygote = psutil.Process(int(process.stdout.readline()))
    deadline, family = time.monotonic() + 300, []
    while len(family) != 4 and time.monotonic() < deadline:
        time.sleep(0.05)
        below = zygote.children(recursive=True)
        # Leaders that have ended wait for the zygote's next request to be reaped.
        family = [
            zygote,
            *(one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE),
        ]
    assert len(family) == 4  # zygote, leader, init, worker
    process.kill()
    process.wait()
    assert still_alive(family, seconds=120) == []


AS_USER = """
import os, sys
os.setgroups([]); os.setresgid(64777, 64777, 64777); os.setresuid(64777, 64777, 64777)
try:
    open(sys.executable).close()
except PermissionError:
    sys.exit(77)
"""
EXAMINE_AS_USER = """
from pathlib import Path
from grader.examine.checks import Check
from grader.examine.examiner import Examiner
from grader.examine.submission import Submission
from grader.sandbox.packed import Packed
check = Check("c", "i", 1, 60, None, "", "", False, "s", None)
from grader.sandbox.build import SandboxError
with Examiner("auto") as examiner:
    sub = Submission(examiner.place, Packed(Path(sys.argv[1])), check, driver=None, memory=1 << 30, seed=1)
    run = sub.ranks("work:run", world=2)
    print(examiner.isolation, run.results, run.network_bytes > 0)
try:
    Examiner("namespaces").close()
    print("control groups too")
except SandboxError as error:
    print("grading refused" if "memory cannot be limited" in str(error) else error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_gets_the_same_sandbox(tmp_path):
    (tmp_path / "work.py").write_text(
        "import os\nimport torch.distributed as dist\n"
        "def run(rank, size):\n"
        "    dist.barrier()\n"
        "    shadow, init = '/proc/1/root/etc/shadow', '/proc/1/oom_score_adj'\n"
        "    return [os.getuid(), os.listdir('/submission'), os.path.exists(shadow), os.access(init, os.W_OK)]\n"
    )
    command = [sys.executable, "-c", AS_USER + EXAMINE_AS_USER, str(tmp_path)]
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode == 77:
        pytest.skip("this Python lies in a folder that only root can read")
    seen = "[1000, ['work.py'], False, False]"
    sandboxed, grading = done.stdout.splitlines() or ("", done.stderr)
    assert sandboxed == f"namespaces [{seen}, {seen}] True"
    assert grading in ("grading refused", "control groups too")


def test_the_filter_is_valid_for_both_processors():
    for machine, internet in itertools.product(("x86_64", "aarch64"), (True, False)):
        code = seccomp.program(machine=machine, internet=internet)
        assert len(code) % 8 == 0
        assert len(code) // 8 < 4096
    with pytest.raises(NotImplementedError, match="riscv64"):
        seccomp.program(machine="riscv64")


def test_attempts_to_reach_a_network_are_counted_and_noted_from_outside(submit):
    sub = submit(
        """
        import socket

        def knock():
            for address in ("10.0.0.1", "192.0.2.7"):
                try:
                    socket.create_connection((address, 80), 1)
                except OSError:
                    pass
            try:
                socket.create_connection(("127.0.0.1", 9), 1)
            except ConnectionRefusedError:
                return "at home"
        """
    )
    assert sub.call("work:knock").result == "at home"
    assert sub.notes == ["tried 2 times to reach a network outside the sandbox"]


def test_what_was_on_the_way_to_a_rank_that_died_is_no_attempt_to_reach_a_network(submit):
    sub = submit(
        """
        import os, socket, time
        import torch.distributed as dist
        def run(rank, size):
            if rank == 0:
                server = socket.create_server(("", 4000))
            dist.barrier()
            if rank == 0:
                server.accept()
                os._exit(3)
            socket.create_connection(("rank0", 4000), 5)
            for _ in range(40):
                time.sleep(0.02)
                try:
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("rank0", 4000))
                except OSError:
                    pass  # its cable is gone
        """
    )
    with pytest.raises(StudentError, match="exit code 3"):
        sub.ranks("work:run", world=2)
    assert sub.notes == []


def test_no_tree_of_folders_keeps_a_sandbox_from_being_built(submit, tmp_path):
    """Else one student's zip file of 300 KB ends the grading of a class."""
    sub = submit("def run(): return 1")
    folder = tmp_path / "tree"
    for number in range(600):
        below = folder / f"x{number}" / "/".join("b" * 30)
        below.mkdir(parents=True)
        (below / "data").touch()
    here = os.open(folder, os.O_RDONLY)  # a path that the system takes where it begins elsewhere
    long = "/".join(["a" * 250] * 14)
    assert MAX_PATH < len(long) < os.pathconf("/", "PC_PATH_MAX")
    for end in range(251, len(long) + 1, 251):
        os.mkdir(long[: end - 1], dir_fd=here)
    os.close(os.open(long[:-1], os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    (folder / "work.py").write_text("def run(): return 2")
    sub._packed = Packed(folder, ["work.py"])
    assert call(sub) == 2
    (note,) = sub._packed.notes
    assert "may lie in 4000 folders, and a path may have 2000 bytes" in note
    sub._packed.close()
