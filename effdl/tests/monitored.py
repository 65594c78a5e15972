"""Programs that are bound by one thing on purpose, for test_monitor: ``python monitored.py NAME SECONDS [ARGUMENT]``.

Each says "ready" when it begins, and in the end prints a number: the share of the time in which it had no processor
work to do, by its own clock.
"""

import hashlib
import mmap
import os
import socket
import sys
import threading
import time

from effdl.quiet import cores


def ready():
    print("ready", flush=True)


def until(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


def spin(seconds):
    ready()
    for _ in until(seconds):
        sum(range(1000))


def hash_everywhere(seconds):
    """A thread for each core. Without barriers, at which one would sleep while another has lost its core."""
    block = bytes(1 << 22)

    def work():
        for _ in until(seconds):
            hashlib.sha256(block)  # lets go of Python's lock

    threads = [threading.Thread(target=work) for _ in range(cores())]
    ready()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def sleep(seconds):
    ready()
    for _ in until(seconds):
        time.sleep(0.02)


def write(seconds, path):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    block = os.urandom(1 << 14)
    ready()
    for _ in until(seconds):
        os.pwrite(file, block, 0)
        os.fsync(file)


def read(seconds, path):
    size = 64 << 20
    with open(path, "wb") as file:
        file.write(os.urandom(1 << 20) * (size >> 20))
        os.fsync(file.fileno())
    ready()
    file = os.open(path, os.O_RDONLY)
    place = 0
    for _ in until(seconds):
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        place = (place + 7919 * mmap.PAGESIZE) % size
        os.pread(file, mmap.PAGESIZE, place)


def receive(seconds, port):
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        ready()
        for _ in until(seconds):
            connection.recv(1 << 16)


def starve(seconds):
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    class Slow(IterableDataset):
        def __iter__(self):
            for _ in until(seconds):
                for _ in until(0.02):
                    sum(range(1000))
                yield torch.zeros(1)

    for number, _ in enumerate(DataLoader(Slow(), num_workers=1, batch_size=None)):
        if number == 0:
            ready()


def children(seconds):
    import subprocess

    ready()
    for _ in until(seconds):
        subprocess.run([sys.executable, "-S", "-c", "sum(range(3_000_000))"], check=True)


if __name__ == "__main__":
    name, seconds, *rest = sys.argv[1:]
    start, worked = time.monotonic(), time.process_time()
    globals()[name](float(seconds), *rest)
    print(1 - (time.process_time() - worked) / (time.monotonic() - start), flush=True)
