"""Bytes on the wire, read where a program cannot embellish them: from the kernel.

Two counters. A *network namespace* has interfaces of its own; all ranks that live in one share its loopback, and
`/proc/net/dev` counts every byte on it, headers included. And each TCP socket counts its own payload (`TCP_INFO`),
which tells the ranks apart.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from effdl.sockets import socket_bytes
from week03_data_parallel import point_to_point, schedules


def loopback_bytes() -> int:
    """Bytes sent over the loopback of this process's network namespace since it exists."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    raise OSError("/proc/net/dev lists no loopback: not Linux, or a namespace without one")


def count_on_rank(names: list[str], nbytes: int) -> dict[str, tuple[float, float]]:
    """Run each all-reduce once on `nbytes`; return by name what (this rank sent, went over the loopback) in tensors.

    "gloo" is PyTorch's own. Runs on a rank.
    """
    tensor = torch.ones(nbytes // 4)
    counted = {}
    for name in names:
        if name != "gloo":
            schedule = schedules.FLAT[name](dist.get_world_size())
        # The first run opens connections.
        for _ in range(2):
            dist.barrier()
            before = np.array([socket_bytes(), loopback_bytes()])
            dist.barrier()
            dist.all_reduce(tensor) if name == "gloo" else point_to_point.execute(schedule, tensor)
            dist.barrier()
            sent = np.array([socket_bytes(), loopback_bytes()]) - before
            dist.barrier()
        counted[name] = tuple((sent / nbytes).tolist())
    return counted


def count(names: list[str], worlds: list[int], nbytes: int = 4 * 2**20) -> dict[str, dict[str, list]]:
    """Bytes of each all-reduce at each world size, as {world: {name: [by rank ..., loopback]}}, in tensor sizes.

    Runs in a process with a network namespace of its own, so that no other program's bytes are counted.

    Raises OSError where the system allows no such namespace; `count_sockets` works there too.
    """
    words = json.dumps([names, worlds, nbytes])
    inside = ["-m", "week03_data_parallel.wire", words]
    command = [sys.executable, "-m", "week03_data_parallel.namespace", *inside]
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=900)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise OSError(f"no counting in a namespace here: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def count_sockets(names: list[str], worlds: list[int], nbytes: int = 4 * 2**20) -> dict[str, dict[str, list]]:
    """The same in the namespace of this process: the last number then holds other programs' bytes too."""
    from effdl import launch

    found = {}
    for world in worlds:
        by_rank = launch.run(
            "week03_data_parallel.wire:count_on_rank", ranks=world, args=(names, nbytes), deadline=600
        )
        found[str(world)] = {
            name: [counted[name][0] for counted in by_rank] + [by_rank[0][name][1]] for name in names
        }
    return found


def count_anyhow(names: list[str], worlds: list[int], nbytes: int = 4 * 2**20) -> dict[str, dict[str, list]]:
    """As `count`; where no namespace is to be had, the last number is the sum of what the sockets counted."""
    try:
        return count(names, worlds, nbytes)
    except OSError as error:
        print(error)
        counted = count_sockets(names, worlds, nbytes)
        return {n: {name: [*c[:-1], sum(c[:-1])] for name, c in by.items()} for n, by in counted.items()}


def main() -> None:
    """`python -m week03_data_parallel.wire '[["ring"], [2, 4], 4194304]'` prints what `count` returns, as JSON."""
    print(json.dumps(count_sockets(*json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
