"""What a CPU is made of, and measurements that make its parts visible: caches, latency, SIMD, threads.

Everything is measured from Python, so every measurement needs a loop whose own cost is known or small. The docstrings
say which loop that is.
"""

import array
import itertools
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from effdl.bench import compare
from effdl.device import cores, cpu_model

KIB, MIB = 2**10, 2**20
CPU_FOLDER = Path("/sys/devices/system/cpu")
NODE_FOLDER = Path("/sys/devices/system/node")


def caches():
    """Sizes in bytes of the data caches that core 0 uses, as ``{"L1": 32768, ...}``; empty if unknown."""
    found = {}
    for index in sorted(CPU_FOLDER.glob("cpu0/cache/index*")):
        # A virtual machine or an ARM board may list a cache whose size it does not know.
        if (index / "size").exists() and (index / "type").read_text().strip() != "Instruction":
            digits, unit = re.fullmatch(r"(\d+)([KMG]?)", (index / "size").read_text().strip()).groups()
            scale = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB}[unit]
            found["L" + (index / "level").read_text().strip()] = int(digits) * scale
    return found


def numa_nodes():
    """Number of NUMA nodes: groups of cores with memory of their own. 1 where the system does not say."""
    return max(1, len(list(NODE_FOLDER.glob("node[0-9]*"))))


def profile():
    """Rows (part, what this machine has) for a table."""
    sizes = ", ".join(f"{level} {size // KIB:,} KiB" for level, size in caches().items())
    return [
        ("chip", f"{cpu_model()}, {platform.machine()}"),
        ("cores this process may use", cores()),
        ("widest SIMD that PyTorch uses", torch.backends.cpu.get_cpu_capability()),
        ("data caches seen by one core", sizes or "unknown on this system"),
        ("NUMA nodes", numa_nodes()),
    ]


def read_bandwidth(sizes, rounds=5, traffic=64 * MIB):
    """Bytes per second at which one core reads an array again and again, for each array size in bytes.

    The loop is NumPy's ``max`` over a float32 array, of which one call reads ``traffic`` bytes: a first axis
    of stride 0 is added, so that even 4 KiB are read thousands of times per call. Sizes are measured in
    interleaved rounds; the fastest of each counts, because a disturbance only slows.
    """
    views = []
    for size in sizes:
        numbers = np.ones(size // 4, np.float32)
        views.append(np.broadcast_to(numbers, (max(1, traffic // size), numbers.size)))
    best = np.full(len(views), np.inf)
    for _ in range(rounds):
        for i, view in enumerate(views):
            start = time.perf_counter()
            view.max(axis=1)
            best[i] = min(best[i], time.perf_counter() - start)
    return [4 * view.size / seconds for view, seconds in zip(views, best, strict=True)]


def ring(nodes, shuffled, seed=0):
    """An array of ``nodes`` 8-byte numbers, each the index of the next one: in memory order, or in random order."""
    order = np.random.default_rng(seed).permutation(nodes) if shuffled else np.arange(nodes)
    following = np.empty(nodes, np.int64)
    following[order] = np.roll(order, -1)
    return array.array("q", following.tobytes())


def walk(following, steps):
    """Follow the ring from its first node; return the index after so many steps."""
    at = 0
    for _ in itertools.repeat(None, steps):
        at = following[at]
    return at


def step_seconds(counts, steps=50_000, rounds=7):
    """Seconds per step of walks around rings of ``counts`` nodes: a list in memory order, one in random order.

    The loop is Python's own, which takes some 25 ns a step; the read in it cannot start before the last has
    returned, so what comes on top is a latency. Both walks run the same instructions; only the order of addresses
    differs. Walks are timed in interleaved rounds; the fastest counts, because a disturbance only slows.
    """
    rings = [ring(nodes, shuffled) for shuffled, nodes in itertools.product((False, True), counts)]
    best = np.full(len(rings), np.inf)
    for _ in range(rounds):
        for i, following in enumerate(rings):
            start = time.perf_counter()
            walk(following, steps)
            best[i] = min(best[i], (time.perf_counter() - start) / steps)
    return best[: len(counts)].tolist(), best[len(counts) :].tolist()


def compare_strides(strides, values=2**24, pairs=7):
    """Time sums over every k-th of ``values`` float32 numbers, for each k in ``strides``, in interleaved rounds.

    Returns a :class:`effdl.bench.Comparison` with the strides as names. All sums walk over the same 64 MiB; a sum
    with stride k uses one number in k of what it walks over. The loop is NumPy's.
    """
    numbers = np.ones(values, np.float32)
    return compare({str(k): numbers[::k].sum for k in strides}, pairs=pairs)


def simd_seconds(operations=("add", "sigmoid"), rounds=20):
    """Seconds of one call on 4,096 float32 values in the L1 cache, without and with wide SIMD registers.

    PyTorch chooses its vector code when it is loaded, so two processes are asked in turn (ABBA): one started
    with ``ATEN_CPU_CAPABILITY=default``, one that may use what the CPU has. Returns
    ``{operation: (narrow, wide)}``, the fastest of ``rounds`` each.
    """
    widest = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    best = {operation: [float("inf")] * 2 for operation in operations}
    with (
        _start_simd_worker({**widest, "ATEN_CPU_CAPABILITY": "default"}) as narrow,
        _start_simd_worker(widest) as wide,
    ):
        for turn in range(rounds):
            for operation in operations:
                for which, worker in sorted(enumerate((narrow, wide)), reverse=turn % 2 == 1):
                    worker.stdin.write(operation + "\n")
                    worker.stdin.flush()
                    best[operation][which] = min(best[operation][which], float(worker.stdout.readline()))
    return {operation: tuple(seconds) for operation, seconds in best.items()}


def _start_simd_worker(environment):
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("simd_worker.py"))],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def compare_threads(matrix=1024, vector=2**24, pairs=6):
    """Time a matrix product and an addition on one thread and on all cores, interleaved.

    ``matrix`` is the side of the square matrices, ``vector`` the number of float32 values added. Returns a
    :class:`effdl.bench.Comparison`; the number of threads is afterwards what it was.
    """
    a, b = torch.randn(matrix, matrix), torch.randn(vector)
    out = torch.empty_like(b)

    def on(threads, operation):
        def call():
            torch.set_num_threads(threads)
            operation()

        return call

    operations = {"matrix product": lambda: a @ a, "addition": lambda: torch.add(b, 1.0, out=out)}
    before = torch.get_num_threads()
    try:
        return compare(
            {
                f"{name}, {threads} thread{'s' * (threads > 1)}": on(threads, operation)
                for name, operation in operations.items()
                for threads in sorted({1, cores()})
            },
            pairs=pairs,
        )
    finally:
        torch.set_num_threads(before)
