"""What the kernel tells of processes in /proc, see proc(5)."""

import os
import signal


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


def oldest_child(parent: int) -> tuple[int, int]:
    """Return when the oldest child of a process began, and its number: of a rank's first process, the worker.

    Raises ValueError where there is none.
    """
    children = []
    for pid in numbers("/proc"):
        try:
            _, fields = stat(f"/proc/{pid}")
        except OSError:
            continue
        if int(fields[1]) == parent:
            children.append((int(fields[19]), pid))
    return min(children)


def signal_child(parent: int, number: int) -> None:
    """Signal the oldest child of a process; raises OSError or ValueError where there is none."""
    began, pid = oldest_child(parent)
    # The number may have become another's since: what the descriptor names is looked at once more.
    descriptor = os.pidfd_open(pid)
    try:
        _, fields = stat(f"/proc/{pid}")
        if (int(fields[1]), int(fields[19])) == (parent, began):
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
