"""What the kernel tells of processes in /proc, see proc(5)."""

import os


def stat(folder: str) -> tuple[bytes, list[bytes]]:
    """Return the name of a thread and the fields after it: state, parent, group, session, ..."""
    head, _, tail = read(f"{folder}/stat").rpartition(b")")
    return head.partition(b"(")[2], tail.split()


def numbers(folder: str) -> list[int]:
    """Return the names in a folder that are numbers: of processes, threads or descriptors."""
    return [int(name) for name in os.listdir(folder) if name.isdigit()]


def read(path: str) -> bytes:
    """Return the bytes of a file; raises OSError where the process is gone."""
    with open(path, "rb") as file:
        return file.read()
