"""Functions that test_launch.py runs on ranks. They live in a module because a rank imports what it runs."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy
import torch
import torch.distributed as dist


def sum_of_ranks():
    value = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(value)
    return dist.get_rank(), dist.get_world_size(), value


def echo(*args, **kwargs):
    return args, kwargs


def settings():
    return {
        "threads": torch.get_num_threads(),
        "omp": os.environ["OMP_NUM_THREADS"],
        "interface": os.environ["GLOO_SOCKET_IFNAME"],
        "asked": os.environ.get("EFFDL_TEST_ASKED"),
        "directory": os.getcwd(),
        "draws": (random.random(), numpy.random.rand()),
    }


def own_group():
    assert not dist.is_initialized()
    dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def in_turn(rounds):
    """Every rank prints when the rank before it has printed: the order is known."""
    rank, size = dist.get_rank(), dist.get_world_size()
    token = torch.zeros(1)
    for _ in range(rounds):
        if rank > 0:
            dist.recv(token, rank - 1)
        print(f"rank {rank}")
        if rank < size - 1:
            dist.send(token, rank + 1)
        else:
            print("---", file=sys.stderr)
        if rank == size - 1:
            dist.send(token, 0)
        if rank == 0:
            dist.recv(token, size - 1)


def print_past_python():
    os.write(1, b"written to descriptor 1\n")
    subprocess.run(["sh", "-c", "echo from a child >&2"], check=True)
    print("from Python")


def print_too_much(nbytes):
    for _ in range(nbytes // 100_000):
        print("x" * 100_000)


def raise_on(bad):
    if dist.get_rank() == bad:
        print("about to fail")
        raise ValueError("the shard of this rank is empty")
    dist.all_reduce(torch.ones(1))


def exit_on(bad, status):
    if dist.get_rank() == bad:
        os._exit(status)
    dist.all_reduce(torch.ones(1))


def segfault_on(bad):
    if dist.get_rank() == bad:
        os.kill(os.getpid(), signal.SIGSEGV)
    dist.all_reduce(torch.ones(1))


def hang_on(bad):
    if dist.get_rank() == bad:
        wait_for_ever()
    dist.all_reduce(torch.ones(1))


def wait_for_ever():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


def leave_children(pid_folder, then):
    """Start a child and a detached grandchild, which no session or group ties to this rank."""
    rank = dist.get_rank()
    child = subprocess.Popen(["sleep", "600"])
    orphan = ["sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & echo $!"]
    grandchild = subprocess.run(orphan, capture_output=True, text=True, check=True)
    lines = f"{os.getpid()} {child.pid} {grandchild.stdout.strip()}"
    with open(os.path.join(pid_folder, f"{rank}.tmp"), "w") as file:
        file.write(lines)
    os.rename(os.path.join(pid_folder, f"{rank}.tmp"), os.path.join(pid_folder, f"{rank}.pids"))
    dist.barrier()
    if then == "raise" and rank == 0:
        raise ValueError("after starting children")
    if then in ("hang", "raise"):
        wait_for_ever()


def unsendable():
    return lambda: 1


def view_of_a_large_tensor():
    return torch.zeros(1_000_000)[:2]


class Maker:
    @staticmethod
    def make():
        return "made"


def run_inside():
    from effdl import launch

    return list(launch.run("effdl.tests.launch_ranks:sum_of_ranks", ranks=2))
