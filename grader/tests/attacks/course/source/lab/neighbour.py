"""An honest student's program, which uses what every worker is promised."""

import array
import ctypes
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path


def lives() -> dict[str, bool]:
    """Return for each thing that a worker may use whether it works."""
    return {trial.__name__: bool(trial()) for trial in TRIALS}


def passes_a_descriptor() -> bool:
    here, there = socket.socketpair()
    with here, there:
        here.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
        _, rights, _, _ = socket.recv_fds(there, 1, 1)
        os.close(rights[0])
        return len(rights) == 1


def opens_whole_pipes() -> bool:
    read, write = os.pipe()
    size = fcntl.fcntl(read, 1032)  # F_GETPIPE_SZ
    os.close(read)
    os.close(write)
    return size == 65536


def queues_a_signal() -> bool:
    heard = []
    number = signal.SIGRTMIN + 5
    signal.signal(number, lambda *_: heard.append(1))
    ctypes.CDLL(None).sigqueue(os.getpid(), number, None)
    return heard == [1]


def waits_for_events() -> bool:
    read, write = os.pipe()
    with select.epoll() as poll:
        poll.register(read, select.EPOLLIN)
        os.write(write, b"x")
        found = poll.poll(1)
    os.close(read)
    os.close(write)
    return bool(found)


def writes_its_folders() -> bool:
    for folder in ("/tmp", "/dev/shm"):
        path = Path(folder) / "work"
        path.write_bytes(bytes(1 << 20))
        if path.stat().st_size != 1 << 20:
            return False
        path.unlink()
    return True


def talks_over_the_loopback() -> bool:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), 2) as client,
        server.accept()[0] as served,
    ):
        client.sendall(b"x" * 50_000)
        got = 0
        while got < 50_000:
            got += len(served.recv(50_000))
    return True


def starts_processes() -> bool:
    done = subprocess.run([sys.executable, "-S", "-c", "print(6 * 7)"], capture_output=True, text=True)
    return done.stdout == "42\n"


def starts_threads() -> bool:
    found = []
    threads = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(found) == 8


def locks_a_file() -> bool:
    with open("/tmp/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True


def is_alone() -> bool:
    return sorted(name for name in os.listdir("/proc") if name.isdigit())[:1] == ["1"] and not list(
        Path("/dev/shm").iterdir()
    )


TRIALS = (
    is_alone,
    passes_a_descriptor,
    opens_whole_pipes,
    queues_a_signal,
    waits_for_events,
    writes_its_folders,
    talks_over_the_loopback,
    starts_processes,
    starts_threads,
    locks_a_file,
)
