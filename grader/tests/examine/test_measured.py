"""What is measured from outside, against submissions that lie about it from inside.

Each test runs an honest piece of work and its lying twin, and reads both from outside.
"""

import textwrap
import time

import numpy as np
import pytest
import torch

from grader.checks import Failed, Line, Undecided, expect_slope_at_most
from grader.sandbox.cgroup import Cgroup

pytestmark = pytest.mark.alone

MIB = 1 << 20

# Every clock and counter that a program can ask about itself, made to say nothing happened.
LIES = """
import os, resource, sys, threading, time, tracemalloc
import psutil, torch
for name in ("time", "perf_counter", "monotonic", "process_time", "thread_time"):
    setattr(time, name, lambda: 0.0)
    setattr(time, name + "_ns", lambda: 0)
resource.getrusage = lambda who: resource.struct_rusage([0] * 16)
os.times = lambda: os.times_result([0.0] * 5)
tracemalloc.get_traced_memory = lambda: (0, 0)
psutil.Process.memory_info = lambda self: None
psutil.Process.cpu_times = lambda self: None
psutil.Process.children = lambda self, recursive=False: []
threading.active_count = lambda: 1
torch.autograd.profiler.profile.self_cpu_time_total = 0
torch.profiler.profile.key_averages = lambda self: []
"""
TWINS = pytest.mark.parametrize("lies", ["", LIES], ids=["honest", "lying"])
# A process that no longer belongs to the worker: another session, its parent gone.
ESCAPE = """
import os
def escaped(work):
    done, told = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            work()
            os.write(told, b"x")
            os._exit(0)
        os._exit(0)
    os.wait()
    os.read(done, 1)
"""


def measured(submit, code, *args, **options):
    return submit(ESCAPE + textwrap.dedent(code), **options).call("work:run", *args)


@TWINS
def test_wall_time_is_the_examiners(submit, lies):
    sub = submit("import time\nsleep = time.sleep\n" + lies + "def run():\n    sleep(0.4)\n    return 0.0\n")
    started = time.perf_counter()
    wall = sub.call("work:run").wall
    assert 0.4 <= wall < time.perf_counter() - started


BURN = """
import hashlib
def burn():
    for _ in range(60):
        hashlib.sha256(bytes(4 << 20)).digest()
"""


@pytest.mark.parametrize(
    "how",
    ["burn()", "escaped(burn)", "thread = threading.Thread(target=burn); thread.start(); thread.join()"],
    ids=["itself", "escaped child", "thread"],
)
def test_processor_time_counts_wherever_the_work_is_done(submit, how):
    runs = [
        measured(submit, f"import threading\n{lies}{BURN}\ndef run():\n    {text}\n")
        for lies, text in (("", "burn()"), (LIES, how))
    ]
    honest, lying = (run.cpu_seconds for run in runs)
    # Work that is not counted leaves nothing. What comes and goes on the other thread of a core changes what a second
    # of it is worth by two at most.
    assert 0.3 < lying / honest < 3


ALLOCATE = """
def allocate(size):
    data = bytearray(size)
    data[::4096] = b"x" * len(data[::4096])
"""


# In what was sent and not received.
KEEP = """
import socket
def tcp():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return socket.create_connection(server.getsockname()), server.accept()[0]
def udp():
    box, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    box.bind(("127.0.0.1", 0))
    sender.connect(box.getsockname())
    return sender, box
def keep(size, cable):
    kept = []
    while size > 0:
        kept.append(cable())
        kept[-1][0].setblocking(False)
        # More datagrams than a box holds are dropped.
        for _ in range(3 if cable is udp else 1000):
            try:
                size -= kept[-1][0].send(bytes(min(65_000, max(size, 1))))
            except BlockingIOError:
                break
        if cable is udp:
            kept[-1][0].close()
"""


@pytest.mark.parametrize(
    "how",
    [
        "allocate(size)",
        "escaped(lambda: allocate(size))",
        "torch.ones(size // 4).sum()",
        "open('/dev/shm/x', 'wb').write(b'x' * (size // 2)); os.unlink('/dev/shm/x')",
        "mmap.mmap(-1, size).write(b'x' * size)",
        "keep(size, tcp)",
        "keep(size, udp)",
    ],
    ids=["freed at once", "escaped child", "tensor", "shared memory", "mapping", "tcp", "udp"],
)
def test_memory_that_was_given_back_still_counts_at_its_peak(submit, how):
    size = 150 * MIB
    code = f"import mmap, torch\n{LIES}{ALLOCATE}{KEEP}\ndef run(size):\n    {how}\n    return 0\n"
    lying = measured(submit, code, size)
    idle = measured(submit, "def run(): return 0")
    assert lying.peak_memory - idle.peak_memory > 0.9 * size


@TWINS
def test_processes_are_counted_at_their_most_also_those_that_hid(submit, lies):
    run = measured(
        submit,
        f"""
{lies}
def run():
    end, begin = os.pipe()
    for _ in range(7):
        if os.fork() == 0:
            os.setsid()
            os.close(begin)
            os.read(end, 1)  # until all are there
            os._exit(0)
    os.close(begin)
    for _ in range(7):
        os.wait()
    return 1
""",
    )
    idle = measured(submit, "def run(): return 0")
    assert run.processes - idle.processes == 7


@pytest.mark.parametrize("end", ["time.sleep(60)", "os.setsid(); time.sleep(60)"], ids=["child", "daemon"])
def test_processes_that_outlive_the_answer_are_counted(submit, end):
    run = measured(
        submit, f"import os, time\ndef run():\n    if os.fork() == 0:\n        {end}\n    return 1"
    )
    assert run.left == 1


@pytest.mark.parametrize("end", ["os._exit(0)", "time.sleep(0.1); os._exit(0)"], ids=["zombie", "late"])
def test_processes_that_end_with_the_answer_are_not_counted(submit, end):
    run = measured(
        submit, f"import os, time\ndef run():\n    if os.fork() == 0:\n        {end}\n    return 1"
    )
    assert run.left == 0


def test_a_kernel_that_does_not_count_gives_none_instead_of_a_guess(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (tmp_path / "memory.events").write_text("low 0\noom_kill 0\n")
    usage = Cgroup(2, {"memory": tmp_path}).usage()
    assert (usage.cpu_seconds, usage.peak_memory, usage.processes) == (1.5, None, None)


def test_version_1_adds_what_is_swapped_out_and_what_lies_in_sockets(tmp_path):
    (tmp_path / "cpuacct.usage").write_text("1500000000\n")
    (tmp_path / "memory.oom_control").write_text("under_oom 0\noom_kill 0\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("100\n")
    group = Cgroup(1, dict.fromkeys(("memory", "pids", "cpuacct"), tmp_path))
    assert group.usage().peak_memory is None  # a kernel that does not count sockets
    (tmp_path / "memory.kmem.tcp.max_usage_in_bytes").write_text("10\n")
    assert group.usage().peak_memory == 110
    (tmp_path / "memory.memsw.max_usage_in_bytes").write_text("107\n")
    assert group.usage().peak_memory == 117


@pytest.mark.parametrize(
    "how",
    [
        "print('x' * 99_999, flush=True)",
        "os.write(1, b'x' * 100_000)",
        "libc = ctypes.CDLL(None); libc.puts(b'x' * 99_999); libc.fflush(None)",
        "sys.stderr = open(os.devnull, 'w'); os.write(2, b'x' * 100_000)",
        "escaped(lambda: os.write(1, b'x' * 100_000))",
        "os.dup2(1, 77); os.close(1); os.write(77, b'x' * 100_000)",
    ],
    ids=["print", "descriptor", "C library", "stderr hidden", "escaped child", "another descriptor"],
)
def test_output_is_counted_by_the_byte_whatever_wrote_it(submit, how):
    run = measured(submit, f"import ctypes, os, sys\ndef run():\n    {how}\n    return 1\n")
    assert run.output_bytes == 100_000


# --- bytes between ranks ------------------------------------------------------------------------------------

COLLECTIVES = """
import socket
import torch
import torch.distributed as dist

def ring(x, rank, size):
    chunks = list(x.chunk(size))
    for step in range(2 * (size - 1)):
        mine, theirs = chunks[(rank - step) % size], torch.empty_like(chunks[(rank - step - 1) % size])
        sends = dist.isend(mine.clone(), (rank + 1) % size)
        dist.recv(theirs, (rank - 1) % size)
        sends.wait()
        if step < size - 1:
            chunks[(rank - step - 1) % size] += theirs
        else:
            chunks[(rank - step - 1) % size].copy_(theirs)

def butterfly(x, rank, size):
    distance = 1
    while distance < size:
        theirs = torch.empty_like(x)
        sends = dist.isend(x.clone(), rank ^ distance)
        dist.recv(theirs, rank ^ distance)
        sends.wait()
        x += theirs
        distance *= 2

def gather_and_broadcast(x, rank, size):
    if rank == 0:
        for other in range(1, size):
            theirs = torch.empty_like(x)
            dist.recv(theirs, other)
            x += theirs
        for other in range(1, size):
            dist.send(x, other)
    else:
        dist.send(x, 0)
        dist.recv(x, 0)

def by_own_socket(x, rank, size):
    # Past torch altogether: what it counts stays zero.
    if rank == 1:
        server = socket.create_server(("", 5555))
        dist.barrier()
        peer, _ = server.accept()
        got = 0
        while data := peer.recv(1 << 16):
            got += len(data)
        return got
    dist.barrier()
    if rank == 0:
        peer = socket.create_connection(("rank1", 5555))
        peer.sendall(x.numpy().tobytes())
        peer.close()
    return 0

def by_datagrams(x, rank, size):
    dist.barrier()
    if rank == 0:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        data = x.numpy().tobytes()
        for start in range(0, len(data), 50_000):
            sock.sendto(data[start:start + 50_000], ("rank1", 5556))
    dist.barrier()
    return 0

def silent(x, rank, size):
    return 0
"""
RING = np.roll(np.eye(4), 1, axis=1) * 1.5  # to the next rank, 2 (n - 1) / n of the tensor
STAR = np.array([[0, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
BUTTERFLY = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]])
LINK = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("ring", RING),
        ("butterfly", BUTTERFLY),
        ("gather_and_broadcast", STAR),
        ("by_own_socket", LINK),
        ("by_datagrams", LINK),
        ("silent", 0 * LINK),
    ],
)
def test_the_bytes_of_every_pair_of_ranks_show_how_they_talked(submit, function, expected):
    tensors = torch.randn(4, 400_000)
    run = submit(COLLECTIVES).ranks(f"work:{function}", world=4, per_rank=tensors, wall=20)
    if expected.sum() > 1:
        for result in run.results:
            assert torch.allclose(result, tensors.sum(0), atol=1e-4)
    sent = np.array(run.sent) / tensors[0].nbytes
    assert np.abs(sent - expected).max() < 0.03  # headers and acknowledgements
    assert run.network_bytes == np.sum(run.sent)
    assert run.network_packets == np.sum(run.packets)


ADAM = """
import torch
import torch.distributed as dist

def adam(values, gradient, state):
    # In pieces, so that it needs next to nothing besides. Then the ranks meet, each with all that it holds: without
    # that, whether their largest moments meet is the scheduler's choice.
    pieces = (tensor.chunk(32) for tensor in (values, gradient, *state))
    for value, slope, mean, square in zip(*pieces, strict=True):
        mean.lerp_(slope, 0.1)
        square.lerp_(slope * slope, 0.001)
        value.sub_(mean / (square.sqrt() + 1e-8))
    dist.barrier()

def shard(x, rank, size):
    return x.view(size, -1)[rank]

def reduce_scatter(x, rank, size):
    # Of two ranks; gloo's own moves as much as an all-reduce.
    sends = dist.isend(shard(x, 1 - rank, size), 1 - rank)
    mine = torch.empty_like(shard(x, rank, size))
    dist.recv(mine, 1 - rank)
    sends.wait()
    return mine + shard(x, rank, size)

def sharded(x, rank, size):
    gradient = torch.full_like(x, rank + 1.0)
    mine = reduce_scatter(gradient, rank, size)
    del gradient
    adam(shard(x, rank, size), mine / size, torch.zeros(2, mine.numel()))
    dist.all_gather_into_tensor(x, shard(x, rank, size).clone())

def pretends(x, rank, size):
    # The same bytes, but every rank keeps the state of all parameters.
    gradient = torch.full_like(x, rank + 1.0)
    mine = reduce_scatter(gradient, rank, size)
    state = torch.ones(2, x.numel())
    adam(shard(x, rank, size), mine / size, [shard(part.zero_(), rank, size) for part in state])
    dist.all_gather_into_tensor(x, shard(x, rank, size).clone())

def wasteful(x, rank, size):
    # The state is sharded, but the whole gradient travels to everyone.
    gradient = torch.full_like(x, rank + 1.0)
    dist.all_reduce(gradient)
    mine = shard(gradient, rank, size).clone()
    del gradient
    adam(shard(x, rank, size), mine / size, torch.zeros(2, mine.numel()))
    dist.all_gather_into_tensor(x, shard(x, rank, size).clone())
"""


def reads_memory(run):
    return run.peak_memory


def test_memory_and_bytes_tell_a_sharded_optimizer_from_one_that_pretends(submit):
    runs, world, size = {}, 2, 6_000_000
    for name in ("sharded", "pretends", "wasteful"):
        values = torch.zeros(world, size)
        runs[name] = submit(ADAM, check=reads_memory).ranks(
            f"work:{name}", world=world, per_rank=values, wall=30
        )
        for result in runs[name].results:
            assert torch.allclose(result, runs["sharded"].results[0])
    nbytes = 4 * size
    moved = {name: run.network_bytes / nbytes for name, run in runs.items()}
    more = {name: (run.peak_memory - runs["sharded"].peak_memory) / nbytes for name, run in runs.items()}
    # In tensors, of both ranks: 2 for the other halves of two states and 2 for a gradient that stays. A half of that
    # is more than how what they hold in other moments can overlap.
    assert more["pretends"] > 2
    assert moved["pretends"] == pytest.approx(moved["sharded"], rel=0.02)
    assert moved["wasteful"] > 1.3 * moved["sharded"]
    assert more["wasteful"] < 1.3  # as much where they meet; before, the all-reduce's own buffers


# --- slope --------------------------------------------------------------------------------------------------

STACK = """
import torch
WIDTH, ROWS = 128, 4096  # an activation is 2 MiB, a block of weights 0.25 MiB

class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, *weights):
        ctx.save_for_backward(x, *weights)
        with torch.no_grad():
            return block(x, weights)
    @staticmethod
    def backward(ctx, gradient):
        x, *weights = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            y = block(x, weights)
        return torch.autograd.grad(y, [x, *weights], gradient)

def block(x, weights):
    for weight in weights:
        x = torch.tanh(x @ weight)
    return x

def train(depth, run):
    layers = [[torch.randn(WIDTH, WIDTH, requires_grad=True) for _ in range(4)] for _ in range(depth)]
    x = torch.randn(ROWS, WIDTH)
    for weights in layers:
        x = run(x, weights)
    x.sum().backward()
    return 1.0

def plain(depth):
    return train(depth, block)

def checkpointed(depth):
    return train(depth, lambda x, weights: Recompute.apply(x, *weights))

def touched(size):
    torch.ones(size // 4).sum()

def constant_first(depth):
    touched(160 << 20)
    return plain(depth)

def padded(depth):
    # As much at every depth as the deepest needs.
    kept = torch.ones((8 << 20) * (16 - depth) // 4)
    return plain(depth) + 0 * kept.sum().item()
"""
TOUCHED_AT_IMPORT = STACK + "\ntouched(160 << 20)\n"


def slope_of(submit, function, code=STACK):
    sub = submit(code)
    return sub.slope(lambda depth: sub.call(f"work:{function}", depth), (4, 10, 16))


def expect_checkpointed(submit, line):
    # 2 MiB input and 0.5 MiB weights and gradients per block; without recomputing 6 MiB more, which adds up to 72 MiB
    # above what 16 blocks may take. Half of that is room; the rest of size 0 (the interpreter, one block, and the
    # modules that the first autograd function imports) is what one honest block takes on this machine.
    one = submit(STACK, check=reads_memory).call("work:checkpointed", 1).peak_memory
    expect_slope_at_most(line, 4 * MIB, fixed=one + 36 * MIB, of="MiB per block", unit=MIB)


def test_a_checkpointed_stack_grows_by_its_inputs_only(submit):
    expect_checkpointed(submit, slope_of(submit, "checkpointed"))


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("plain", STACK),
        ("constant_first", STACK),
        ("padded", STACK),
        ("plain", TOUCHED_AT_IMPORT),
    ],
    ids=["plain", "constant first", "padded where small", "touched at import"],
)
def test_memory_taken_for_show_hides_no_slope(submit, function, code):
    line = slope_of(submit, function, code)
    with pytest.raises(Failed, match="MiB per block"):
        expect_checkpointed(submit, line)


WHERE_FREED = """
import ctypes

def still_ours():
    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in "arena a b hblks hblkhd c d uordblks fordblks keep".split()]
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    # From what is freed, glibc learns which sizes to keep, unless it was told.
    libc.free(libc.malloc(30 << 20))
    before = libc.mallinfo2().hblks
    block = libc.malloc(20 << 20)
    mapped = libc.mallinfo2().hblks - before
    libc.free(block)
    return mapped
"""


def test_only_a_check_that_reads_memory_pays_for_what_makes_it_meaningful(submit):
    def by_a_helper(sub):
        return reads_memory(sub)

    mapped = [
        submit(WHERE_FREED, check=check).call("work:still_ours").result
        for check in (by_a_helper, lambda sub: None)
    ]
    assert mapped == [1, 0]
    sub, seen = submit(WHERE_FREED), []

    def run(size):
        seen.append(sub.call("work:still_ours"))
        return seen[-1]

    sub.slope(run, (1, 2, 3))
    assert [one.result for one in seen] == [1, 1, 1]
    assert sub.call("work:still_ours").result == 0


def test_a_line_has_the_slope_of_least_squares():
    sizes, values = (1.0, 2.0, 5.0, 9.0), (3.0, 1.0, 4.0, 7.5)
    assert Line(sizes, values).slope == pytest.approx(np.polyfit(sizes, values, 1)[0])


def test_a_slope_needs_three_sizes_and_a_kernel_that_counts(submit, monkeypatch):
    sub = submit("def run(size): return size")
    with pytest.raises(ValueError, match="at least 3 different sizes"):
        sub.slope(lambda size: sub.call("work:run", size), (1, 2, 2))
    from dataclasses import replace

    with pytest.raises(Undecided, match=r"Linux 5\.19"):
        sub.slope(lambda size: replace(sub.call("work:run", size), peak_memory=None), (1, 2, 3))
