"""Lists and opens POSIX and System V shared memory, semaphores and message queues.

Must: learn nothing; all of them are its own.
"""

FAMILY = "secrets"
TARGET = "words"

import ctypes
import os


def count(text):
    for folder in ("/dev/shm", "/dev/mqueue", "/run/shm", "/tmp", "/var/tmp"):
        for top, _, names in os.walk(folder):
            for name in names:
                with open(f"{top}/{name}", "rb") as file:
                    print(top, name, file.read(4096))
    for name in ("shm", "sem", "msg"):
        with open(f"/proc/sysvipc/{name}") as file:
            print(file.read())
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    for identity in range(64):
        address = libc.shmat(identity, None, 0o10000)
        if address not in (None, ctypes.c_void_p(-1).value):
            print(identity, ctypes.string_at(address, 4096))
    return {}
